/* What glide bench measures on whole processes: prompt to picture, opening a file. */
#include "glide/cmd_bench.h"
#include "glide/weights_path.h"
#include "text_transformer/text_unet_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { RUNS = 3, MOST_RUNS = 100, MOST_ARGUMENTS = 48 };

double bench_own_peak(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_maxrss * 1024 : 0;
}

/* --- medians of several ------------------------------------------------------------------------------- */

/* The first one warms the file cache and does not count. */
static Status time_children(const char *const *argv, int runs, BenchReport *r)
{
    double seconds[MOST_RUNS];
    r->run.runs = runs > 0 && runs <= MOST_RUNS ? runs : RUNS;
    for (int i = -1; i < r->run.runs; i++) {
        BenchChild child;
        TRY(bench_child(argv, BENCH_CHILD_DROP, &child));
        if (i >= 0) seconds[i] = child.seconds;
        if (child.peak_rss > r->peak_rss) r->peak_rss = child.peak_rss;
    }
    r->run.seconds = bench_median(seconds, r->run.runs);
    return STATUS_OK;
}

bool bench_has_weights(const char *path, const char *usual, char *found, size_t size)
{
    if (!path) return weights_path_default(usual, found, size) == STATUS_OK;
    snprintf(found, size, "%s", path);
    return true;
}

/* --- load --------------------------------------------------------------------------------------------- */

static Status time_load(const char *path, const BenchCommand *c, BenchReport *r)
{
    struct stat file;
    if (stat(path, &file) != 0) return status_fail(STATUS_IO, "%s: %s", path, strerror(errno));
    r->file_bytes = (double)file.st_size;
    return time_children((const char *const[]){"glide", "info", path, NULL}, (int)c->runs, r);
}

Status bench_measure_load(const BenchCommand *c, BenchReport *r)
{
    char path[PATH_MAX];
    if (c->config) {
        char folder[PATH_MAX];
        TRY(bench_folder_new(folder, sizeof folder));
        Status s = bench_random_weights(folder, c->config, path, sizeof path);
        if (s == STATUS_OK) s = time_load(path, c, r);
        bench_folder_remove(folder);
        snprintf(r->config, sizeof r->config, "%s", c->config);
        return s;
    }
    if (!bench_has_weights(c->weights, "base.h5", path, sizeof path)) return weights_path_default("base.h5", path, sizeof path);
    snprintf(r->config, sizeof r->config, "%s", path);
    return time_load(path, c, r);
}

/* --- sample ------------------------------------------------------------------------------------------- */

static Status count_operations(const BenchCommand *c, const char *base, const char *upsampler, BenchReport *r)
{
    TextUNet *small = NULL, *large = NULL;
    CascadeOptions o;
    cascade_options_defaults(&o);
    if (c->steps) o.base.steps = c->steps;
    Status s = text_unet_map(base, "base", &small, NULL);
    if (s == STATUS_OK) s = text_unet_map(upsampler, "upsampler", &large, NULL);
    if (s == STATUS_OK) s = bench_count_sample(small, large, &o, (int)r->batch, &r->run.gflop);
    text_unet_free(small);
    text_unet_free(large);
    return s;
}

static Status time_program(const BenchCommand *c, const char *base, const char *upsampler, BenchReport *r)
{
    char folder[PATH_MAX], output[PATH_MAX + 16], threads[24], n[24];
    const char *argv[MOST_ARGUMENTS];
    int used = 0;
    TRY(bench_folder_new(folder, sizeof folder));
    snprintf(output, sizeof output, "%s/picture.png", folder);
    snprintf(threads, sizeof threads, "%d", r->threads);
    snprintf(n, sizeof n, "%d", (int)r->batch);
    const char *fixed[] = {"glide", "sample", "red apple, fluent 3d emoji", "--seed", "1", "--quiet", "-o", output, "-n", n,
                           "--threads", threads, "--precision", bench_precision(r), "--weights", base, "--upsampler-weights",
                           upsampler};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) argv[used++] = fixed[i];
    if (c->steps) argv[used++] = "--steps", argv[used++] = c->steps;
    argv[used] = NULL;
    Status s = time_children(argv, (int)c->runs, r);
    bench_folder_remove(folder);
    return s;
}

Status bench_measure_program(const BenchCommand *c, BenchReport *r)
{
    char base[PATH_MAX], upsampler[PATH_MAX];
    if (c->config) return status_fail(STATUS_BAD_INPUT, "bench sample: takes --weights and --upsampler-weights, not --config");
    if (!bench_has_weights(c->weights, "base.h5", base, sizeof base)) return weights_path_default("base.h5", base, sizeof base);
    if (!bench_has_weights(c->upsampler_weights, "upsampler.h5", upsampler, sizeof upsampler))
        return weights_path_default("upsampler.h5", upsampler, sizeof upsampler);
    snprintf(r->config, sizeof r->config, "%s", base);
    TRY(count_operations(c, base, upsampler, r)); /* reads what the program will read: what is wrong is told once */
    return time_program(c, base, upsampler, r);
}
