#include "glide/trainer.h"

#include "glide/train_report.h"
#include "glide/train_team.h"

#include <stdio.h>
#include <time.h>

const TrainKind *train_kind(TrainTarget target)
{
    static const TrainKind *const kinds[] = {[TRAIN_BASE] = &train_kind_base,
                                             [TRAIN_UPSAMPLER] = &train_kind_upsampler,
                                             [TRAIN_CLASSIFIER] = &train_kind_classifier,
                                             [TRAIN_CLIP] = &train_kind_clip,
                                             [TRAIN_JUDGE] = &train_kind_judge};
    return kinds[target];
}

void trainer_options_defaults(TrainerOptions *o, TrainTarget target)
{
    *o = (TrainerOptions){.target = target, .config = "small", .side = 64, .batch = 32, .n_vocab = 2048, .text_lr = 0.3,
                          .unseen = 0.1, .checkpoint_minutes = 5, .samples = true, .progress = PROGRESS_AUTO};
    optimizer_options_defaults(&o->optimizer);
    diffusion_loss_defaults(&o->loss);
    o->batches = batch_options_defaults();
    train_kind(target)->defaults(o);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool asked_to_stop(const TrainerOptions *o)
{
    return o->stop && o->stop();
}

static Status checkpoint(Trainer *tr, Progress *bar)
{
    char held_out[256] = "";
    bool stopping = asked_to_stop(tr->options); /* who stops waits neither for measures nor for a grid */
    TRY(trainer_save(tr));
    if (!stopping) TRY(train_report_held_out(tr, held_out, sizeof held_out));
    TRY(train_report_curve(tr));
    if (!stopping && tr->options->samples) TRY(train_report_samples(tr));
    progress_log(bar, "step %lld: saved %s%s%s", (long long)tr->optimizer.step, tr->options->out, *held_out ? "; held out: " : "",
                 held_out);
    return STATUS_OK;
}

static void show(Trainer *tr, Progress *bar, double seconds, double flops)
{
    char note[128];
    const TrainRecord *r = &tr->records.items[tr->records.count - 1];
    snprintf(note, sizeof note, "%s %.4f %s %.3f, %.1f images/s, %.0f GFLOP/s", tr->kind->loss_names[0], r->loss[0],
             tr->kind->loss_names[1], r->loss[1], tr->options->batch / seconds, flops / seconds * 1e-9);
    progress_update(bar, tr->optimizer.step, note);
}

static Status train_loop(Trainer *tr, TrainTeam *team, Progress *bar)
{
    const TrainerOptions *o = tr->options;
    double begin = now(), saved = begin, step_begin = begin, pace = 0, flops = 0;
    bool stop = false;
    while (tr->optimizer.step < o->optimizer.total_steps && !stop) {
        double norm, mean[TRAIN_LOSSES], flops_before = train_team_flops(team);
        TRY(train_team_step(team, (uint32_t)tr->optimizer.step, mean));
        TRY(optimizer_step(&tr->optimizer, tr->kernels, &norm));
        double t = now(), seconds = t - step_begin;
        step_begin = t;
        pace = pace > 0 ? 0.9 * pace + 0.1 * seconds : seconds;
        flops = train_team_flops(team) - flops_before;
        tr->seconds += seconds;
        TRY(train_record(tr, mean, norm));
        show(tr, bar, pace, flops);
        stop = asked_to_stop(o) || (o->minutes > 0 && t - begin > 60 * o->minutes);
        if (t - saved > 60 * o->checkpoint_minutes && !stop) {
            TRY(checkpoint(tr, bar));
            saved = step_begin = now();
        }
    }
    TRY(checkpoint(tr, bar));
    if (asked_to_stop(o))
        return status_fail(STATUS_INTERRUPTED, "stopped at step %lld; go on with --resume", (long long)tr->optimizer.step);
    return STATUS_OK;
}

Status trainer_run(const TrainerOptions *o)
{
    Trainer tr = {0};
    TrainTeam *team = NULL;
    Status s = trainer_open(&tr, o);
    if (s == STATUS_OK) s = train_team_new(&tr, &team);
    if (s == STATUS_OK) {
        ProgressOptions p = progress_defaults(stderr);
        p.style = o->progress;
        p.label = tr.kind->name;
        p.total = o->optimizer.total_steps;
        p.done = tr.optimizer.step;
        p.line_seconds = 30;
        Progress bar;
        progress_start(&bar, &p);
        s = train_loop(&tr, team, &bar);
        if (s == STATUS_OK) progress_finish(&bar);
        else progress_abort(&bar);
    }
    train_team_free(team);
    trainer_close(&tr);
    return s;
}
