#include "common/system_memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { RESERVED_BYTES = 128 << 20 /* of address space, by threads for stacks and heaps: counts where that is limited */ };

static const double unknown = 1e18;

/* A number at the file's beginning: "max" is none. */
static bool read_number(const char *path, double *out)
{
    FILE *f = fopen(path, "r");
    bool good = f && fscanf(f, "%lf", out) == 1;
    if (f) fclose(f);
    return good;
}

static double page_size(void)
{
    return (double)sysconf(_SC_PAGESIZE);
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static double free_of_system(void)
{
    char line[256];
    double bytes = unknown, kilobytes;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf", &kilobytes) == 1) bytes = kilobytes * 1024;
    if (f) fclose(f);
    return bytes;
}

static double free_of_group(void)
{
    double limit, used;
    bool limited = read_number("/sys/fs/cgroup/memory.max", &limit) && read_number("/sys/fs/cgroup/memory.current", &used);
    return limited ? limit - used : unknown;
}

static double free_of_process(void)
{
    struct rlimit limit;
    double pages;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return unknown;
    return read_number("/proc/self/statm", &pages) ? (double)limit.rlim_cur - page_size() * pages - RESERVED_BYTES : unknown;
}

double memory_free(void)
{
    double bytes = least(free_of_system(), least(free_of_group(), free_of_process()));
    return bytes > 0 ? bytes : 0;
}

double memory_used(void)
{
    double pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*f %lf", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return pages * page_size();
}

double memory_total(void)
{
    double limit, pages = (double)sysconf(_SC_PHYS_PAGES);
    return least(pages > 0 ? pages * page_size() : unknown, read_number("/sys/fs/cgroup/memory.max", &limit) ? limit : unknown);
}
