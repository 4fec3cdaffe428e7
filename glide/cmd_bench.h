/* Private to cmd_bench*.c: what glide bench was told, what a part of it measured, and how that is printed. */
#ifndef GLIDE_GLIDE_CMD_BENCH_H
#define GLIDE_GLIDE_CMD_BENCH_H

#include "glide/bench.h"
#include "glide/cli_options.h"

#include <jansson.h>
#include <limits.h>

typedef struct BenchCommand {
    const char *config, *weights, *upsampler_weights, *steps, *output;
    int64_t batch, side, channels, runs, threads;
    int precision;
    bool profile, brief, json;
} BenchCommand;

/* What one part measured. */
typedef struct BenchReport {
    const char *part, *kernels;
    int threads;
    bool f32, int8;   /* neither: bf16 */
    bool both;        /* part conv: no precision was asked for, f32 and bf16 are measured */
    char config[PATH_MAX]; /* the configuration's name or the file */
    char what[PATH_MAX + 160]; /* the same as a sentence's beginning */
    int64_t batch, side;
    BenchRun run;
    double peak; /* GFLOP/s: the convolution rate that the run's are compared with */
    double peak_rss; /* bytes */
    BenchConvs convs[2];                   /* part conv, by DType */
    BenchRun checkpointed, single;         /* part train: with blocks run again in the backward pass; with one thread */
    double file_bytes;                     /* part load */
    BenchProfile profile;
} BenchReport;

const char *bench_precision(const BenchReport *r); /* "f32", "bf16", "int8" */
DType bench_type(const BenchReport *r);            /* of activations */

/* The peak memory of this process so far, bytes. */
double bench_own_peak(void);

/* --- cmd_bench_report.c --- */
/* One flat object, and with a profile its rows. NULL: out of memory. */
json_t *bench_report_json(const BenchReport *r);
Status bench_print_json(json_t *root); /* which it takes over; NULL: out of memory */
Status bench_print_text(const BenchReport *r);

/* --- cmd_bench_child.c: this program as a child. Ctrl-C ends it, too: STATUS_INTERRUPTED, after its end --- */
typedef struct BenchChild {
    double seconds, peak_rss; /* start included; bytes */
    char *text;               /* what it wrote to standard output, when that is kept; free() */
} BenchChild;

typedef enum { BENCH_CHILD_SHOW, BENCH_CHILD_DROP, BENCH_CHILD_KEEP } BenchChildOutput;

/* This program with other arguments; argv ends in NULL. To be used while this process is small: a process's peak memory counts
 * what its parent had when it was started. */
Status bench_child(const char *const *argv, BenchChildOutput output, BenchChild *out);
/* What `glide bench ARGV... --json` prints; argv[0] is the part. */
Status bench_child_json(const char *const *argv, json_t **out);

/* A new folder among the temporary files, and its end with the files in it. */
Status bench_folder_new(char *path, size_t size);
void bench_folder_remove(const char *path);
/* folder/CONFIG.h5, a model of random weights, written by a child. */
Status bench_random_weights(const char *folder, const char *config, char *path, size_t size);

/* --- cmd_bench_program.c: parts that are measured on whole processes --- */
bool bench_has_weights(const char *path, const char *usual, char *found, size_t size);
Status bench_measure_load(const BenchCommand *c, BenchReport *r);
Status bench_measure_program(const BenchCommand *c, BenchReport *r);

/* --- cmd_bench_all.c, cmd_bench_curves.c: several parts, each in a process of its own --- */
Status bench_all(const BenchCommand *c, const char *precision);
Status bench_table(const BenchCommand *c);
Status bench_curves(const BenchCommand *c, const char *precision);

#endif
