/* parity DIR [--kernels best|simd|generic] [--threads N]: compare the engine with a folder of reference results (tests/support_parity.h).
 * Exit status 0: all passed; 1: some failed; 2: the folder or the command line is at fault, one line says how. The last
 * line is "N passed, M failed". */
#include "tests/support_parity.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char usage[] = "usage: parity DIR [--kernels best|simd|generic] [--threads N]";

static int fault(const char *message)
{
    fflush(stdout);
    fprintf(stderr, "parity: %s\n", message);
    return 2;
}

static bool kernels_choice(const char *name, KernelsChoice *choice)
{
    static const struct {
        const char *name;
        KernelsChoice choice;
    } choices[] = {{"best", KERNELS_BEST}, {"simd", KERNELS_NO_ONEDNN}, {"generic", KERNELS_GENERIC}};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, choices[i].name)) continue;
        *choice = choices[i].choice;
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    Parity p = {.out = stdout};
    KernelsChoice choice = KERNELS_BEST;
    struct stat info;
    int threads = 1; /* such small models make threads wait for one another more than work */
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--kernels")) {
            if (i + 1 == argc || !kernels_choice(argv[++i], &choice)) return fault("--kernels: expected best, simd or generic");
        } else if (!strcmp(argv[i], "--threads")) {
            threads = i + 1 < argc ? atoi(argv[++i]) : 0;
            if (threads < 1 || threads > 1024) return fault("--threads: expected a number from 1 to 1024");
        } else if (argv[i][0] == '-' || p.dir) {
            return fault(usage);
        } else {
            p.dir = argv[i];
        }
    }
    if (!p.dir) return fault(usage);
    if (stat(p.dir, &info) != 0 || !S_ISDIR(info.st_mode)) {
        status_fail(STATUS_BAD_INPUT, "%s: no such folder of fixtures", p.dir);
        return fault(status_message());
    }
    omp_set_num_threads(threads);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (kernels_new(choice, &p.kernels) != STATUS_OK) return fault(status_message());
    printf("%s, kernels: %s\n", p.dir, p.kernels->name);
    Status s = parity_all(&p);
    kernels_free(p.kernels);
    if (s != STATUS_OK) return fault(status_message());
    if (p.skipped) printf("%d skipped\n", p.skipped);
    printf("%d passed, %d failed\n", p.passed, p.failed);
    return p.failed > 0;
}
