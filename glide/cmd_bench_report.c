/* What glide bench measured, as text and as JSON. */
#include "glide/cmd_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *type_name(DType type)
{
    return type == DTYPE_BF16 ? "bf16" : "f32";
}

const char *bench_precision(const BenchReport *r)
{
    return r->int8 ? "int8" : r->f32 ? "f32" : "bf16";
}

DType bench_type(const BenchReport *r)
{
    return r->f32 ? DTYPE_F32 : DTYPE_BF16;
}

static double share(const BenchReport *r)
{
    return r->peak > 0 ? bench_rate(&r->run) / r->peak : 0;
}

/* One thread's time over that of all, per thread. */
static double scaling(const BenchReport *r)
{
    return r->single.seconds / r->run.seconds / r->threads;
}

/* --- as text ---------------------------------------------------------------------------------------- */

static void print_convs(const BenchReport *r)
{
    puts("\n3x3 convolutions, GFLOP/s         forward   backward data   backward weights");
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        const BenchConvs *all = &r->convs[type];
        for (int i = 0; i < BENCH_CONV_SHAPES && all->rate > 0; i++) {
            const BenchConv *c = &all->items[i];
            char shape[64];
            snprintf(shape, sizeof shape, "%lldx%lldx%lldx%lld", (long long)c->shape.N, (long long)c->shape.H,
                     (long long)c->shape.W, (long long)c->shape.Cin);
            printf("  %-4s  %-24s %8.0f  %14.0f  %17.0f\n", type_name((DType)type), shape, c->forward, c->backward_data,
                   c->backward_weights);
        }
        if (all->rate > 0) printf("  %-4s  %-24s %8.0f\n", type_name((DType)type), "convolution rate", all->rate);
    }
}

static void print_run(const BenchReport *r)
{
    const BenchRun *run = &r->run;
    printf("\n%s\n  %.4f s (median of %d)", r->what, run->seconds, run->runs);
    if (run->gflop > 0)
        printf(", %.1f GMAC: %.0f GFLOP/s, %.1f %% of the %s convolution rate (%.0f)", run->gflop / 2, bench_rate(run),
               100 * share(r), type_name(bench_type(r)), r->peak);
    if (r->file_bytes > 0) printf(", %.0f MB: %.0f MB/s", r->file_bytes * 1e-6, r->file_bytes * 1e-6 / run->seconds);
    printf("; peak memory %.0f MB", r->peak_rss * 1e-6);
    if (run->peak_bytes > 0) printf(", %.0f MB of it activations", (double)run->peak_bytes * 1e-6);
    puts("");
}

static void print_train(const BenchReport *r)
{
    printf("  %.1f images/s, %d worker%s\n", (double)r->batch / r->run.seconds, r->run.workers, r->run.workers > 1 ? "s" : "");
    if (r->checkpointed.seconds > 0)
        printf("  with --checkpoint-blocks: %.4f s, %.0f MB of activations\n", r->checkpointed.seconds,
               (double)r->checkpointed.peak_bytes * 1e-6);
    if (r->single.seconds > 0)
        printf("  with one thread: %.4f s; %d threads scale to %.1f %%\n", r->single.seconds, r->threads, 100 * scaling(r));
}

static Status print_rows(const BenchReport *r, bool by_block)
{
    BenchProfileRow *rows;
    int count;
    double whole = r->profile.seconds / r->profile.steps, sum = 0;
    TRY(bench_profile_rows(&r->profile, by_block, &rows, &count));
    printf("\n%-44s %12s %7s %10s %8s\n", by_block ? "block" : "op", "seconds", "share", "GFLOP/s", "calls");
    for (int i = 0; i < count; i++) {
        const BenchProfileRow *row = &rows[i];
        char rate[24] = "";
        if (row->gflop > 0) snprintf(rate, sizeof rate, "%.0f", row->gflop / row->seconds);
        printf("  %-42s %12.6f %5.1f %% %10s %8.0f\n", row->name, row->seconds, 100 * row->seconds / whole, rate, row->calls);
        sum += row->seconds;
    }
    printf("  %-42s %12.6f %5.1f %% of the %.6f s that a step takes in the mean\n", "all", sum, 100 * sum / whole, whole);
    free(rows);
    return STATUS_OK;
}

Status bench_print_text(const BenchReport *r)
{
    printf("kernels %s, %d thread%s, %s\n", r->kernels, r->threads, r->threads > 1 ? "s" : "", bench_precision(r));
    if (r->convs[DTYPE_F32].rate > 0 || r->convs[DTYPE_BF16].rate > 0) print_convs(r);
    else print_run(r);
    if (r->run.workers > 0) print_train(r);
    if (r->profile.count == 0) return STATUS_OK;
    TRY(print_rows(r, false));
    return print_rows(r, true);
}

/* --- as JSON ---------------------------------------------------------------------------------------- */

static json_t *json_of_convs(const BenchConvs *all)
{
    json_t *shapes = json_array();
    for (int i = 0; i < BENCH_CONV_SHAPES; i++) {
        const BenchConv *c = &all->items[i];
        json_array_append_new(shapes, json_pack("{s:I, s:I, s:I, s:f, s:f, s:f}", "n", (json_int_t)c->shape.N, "side",
                                                (json_int_t)c->shape.H, "channels", (json_int_t)c->shape.Cin, "forward",
                                                c->forward, "backward_data", c->backward_data, "backward_weights",
                                                c->backward_weights));
    }
    return json_pack("{s:f, s:o}", "rate", all->rate, "shapes", shapes);
}

static json_t *json_of_rows(const BenchProfile *p, bool by_block)
{
    BenchProfileRow *rows;
    int count;
    json_t *list = json_array();
    if (bench_profile_rows(p, by_block, &rows, &count) != STATUS_OK) return list;
    for (int i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:f, s:f, s:f}", "name", rows[i].name, "seconds", rows[i].seconds, "gmac",
                                              rows[i].gflop / 2, "calls", rows[i].calls));
    free(rows);
    return list;
}

static void add_train(json_t *root, const BenchReport *r)
{
    json_object_set_new(root, "workers", json_integer(r->run.workers));
    json_object_set_new(root, "images_per_second", json_real((double)r->batch / r->run.seconds));
    if (r->checkpointed.seconds > 0) {
        json_object_set_new(root, "checkpointed_seconds", json_real(r->checkpointed.seconds));
        json_object_set_new(root, "checkpointed_activation_mb", json_real((double)r->checkpointed.peak_bytes * 1e-6));
    }
    if (r->single.seconds <= 0) return;
    json_object_set_new(root, "one_thread_seconds", json_real(r->single.seconds));
    json_object_set_new(root, "scaling", json_real(scaling(r)));
}

json_t *bench_report_json(const BenchReport *r)
{
    json_t *root = json_pack("{s:s, s:s, s:s, s:i, s:s, s:I}", "part", r->part, "what", r->what, "kernels", r->kernels, "threads",
                             r->threads, "precision", bench_precision(r), "batch", (json_int_t)r->batch);
    if (!root) return NULL;
    json_object_set_new(root, "config", json_string(r->config));
    json_object_set_new(root, "side", json_integer(r->side));
    json_object_set_new(root, "runs", json_integer(r->run.runs));
    json_object_set_new(root, "seconds", json_real(r->run.seconds));
    json_object_set_new(root, "gmac", json_real(r->run.gflop / 2));
    json_object_set_new(root, "gflops", json_real(bench_rate(&r->run)));
    json_object_set_new(root, "peak_gflops", json_real(r->peak));
    json_object_set_new(root, "share", json_real(share(r)));
    json_object_set_new(root, "peak_rss_mb", json_real(r->peak_rss * 1e-6));
    if (r->run.peak_bytes > 0) json_object_set_new(root, "activation_mb", json_real((double)r->run.peak_bytes * 1e-6));
    if (r->file_bytes > 0) {
        json_object_set_new(root, "mb", json_real(r->file_bytes * 1e-6));
        json_object_set_new(root, "mb_per_second", json_real(r->file_bytes * 1e-6 / r->run.seconds));
    }
    if (r->run.workers > 0) add_train(root, r);
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++)
        if (r->convs[type].rate > 0) json_object_set_new(root, type_name((DType)type), json_of_convs(&r->convs[type]));
    if (r->profile.count > 0) {
        json_object_set_new(root, "profile_seconds", json_real(r->profile.seconds / r->profile.steps));
        json_object_set_new(root, "ops", json_of_rows(&r->profile, false));
        json_object_set_new(root, "blocks", json_of_rows(&r->profile, true));
    }
    return root;
}

Status bench_print_json(json_t *root)
{
    if (!root) return status_fail(STATUS_NO_MEMORY, "out of memory for JSON");
    int failed = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(root);
    putchar('\n');
    return failed ? status_fail(STATUS_IO, "standard output cannot be written") : STATUS_OK;
}
