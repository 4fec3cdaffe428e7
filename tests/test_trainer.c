/* The trainer: learns something, survives SIGKILL, and goes on bit for bit. */
#include "common/h5file.h"
#include "glide/trainer.h"
#include "tests/support_dataset.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_status.h"
#include "tests/support_training.h"
#include "text_transformer/text_unet_file.h"

#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>


enum { STEPS = 12 };

static TrainerOptions tiny_options(bool upsampler, const char *data, const char *out)
{
    TrainerOptions o;
    trainer_options_defaults(&o, upsampler);
    o.data = data;
    o.out = out;
    o.config = "tiny";
    o.side = upsampler ? 32 : 16;
    o.batch = 4;
    o.n_vocab = 300;
    o.samples = false;
    o.progress = PROGRESS_QUIET;
    o.optimizer.total_steps = STEPS;
    o.optimizer.warmup_steps = 2;
    o.optimizer.lr = 1e-3f;
    return o;
}

enum { MSE = 1, GRAD_NORM = 4, HELD_OUT = 6 }; /* columns of the history */

static double loss_at(const char *csv, int step)
{
    return history_at(csv, step, MSE);
}

static void test_both_stages_learn(void **state)
{
    (void)state;
    for (int upsampler = 0; upsampler < 2; upsampler++) {
        TrainerOptions o = tiny_options(upsampler, in_test_folder("data.h5"), in_test_folder("learn.h5"));
        o.optimizer.total_steps = 40;
        OK(trainer_run(&o));
        double first = loss_at(in_test_folder("learn.loss.csv"), 1), last = 0;
        for (int step = 31; step <= 40; step++) last += loss_at(in_test_folder("learn.loss.csv"), step) / 10;
        if (last > 0.8 * first) fail_msg("stage %d: loss %g at first, %g at last", upsampler, first, last);
        TextUNet *m;
        OK(text_unet_load(in_test_folder("learn.h5"), upsampler ? "upsampler" : "base", &m, NULL));
        assert_non_null(m->bpe);
        text_unet_free(m);
    }
}

/* A model that draws from text alone becomes an inpainting model: the same answers at first, then it learns to use what it is shown. */
static void test_inpainting(void **state)
{
    (void)state;
    for (int upsampler = 0; upsampler < 2; upsampler++) {
        TrainerOptions o = tiny_options(upsampler, in_test_folder("data.h5"), in_test_folder("plain.h5"));
        OK(trainer_run(&o));
        o.init = in_test_folder("plain.h5");
        o.out = in_test_folder("inpaint.h5");
        o.inpaint = true;
        OK(trainer_run(&o));
        TextUNet *m;
        OK(text_unet_load(in_test_folder("inpaint.h5"), NULL, &m, NULL));
        assert_true(m->config.inpaint && m->config.low_res == (upsampler == 1));
        const Param *first = params_find(&m->params, "input_blocks.0.0.weight");
        int64_t spatial = first->dims[2] * first->dims[3], moved = 0;
        for (int64_t i = 3 * spatial; i < 7 * spatial; i++) moved += first->value[i] != 0;
        assert_true(first->dims[1] == (upsampler ? 10 : 7) && moved == 4 * spatial);
        text_unet_free(m);
    }
    TrainerOptions o = tiny_options(false, in_test_folder("data.h5"), in_test_folder("whole.h5"));
    o.optimizer.total_steps = 2;
    OK(trainer_run(&o));
    o.resume = o.inpaint = true;
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "no inpainting model"));
}

/* However the rows of a step are divided, its loss and gradient are the same but for the order of sums. */
static void test_workers_and_micro_batches(void **state)
{
    (void)state;
    static const struct { int workers, micro_batch; } division[] = {{1, 0}, {2, 0}, {3, 0}, {4, 0}, {3, 1}, {9, 3}};
    for (int upsampler = 0; upsampler < 2; upsampler++) {
        double mse = 0, norm = 0;
        for (size_t i = 0; i < (upsampler ? 2 : sizeof division / sizeof *division); i++) {
            TrainerOptions o = tiny_options(upsampler, in_test_folder("data.h5"), in_test_folder("divided.h5"));
            o.optimizer.total_steps = 1;
            o.workers = division[i].workers;
            o.micro_batch = division[i].micro_batch;
            OK(trainer_run(&o));
            double m = history_at(in_test_folder("divided.loss.csv"), 1, MSE), n = history_at(in_test_folder("divided.loss.csv"), 1, GRAD_NORM);
            if (i == 0) mse = m, norm = n;
            if (fabs(m - mse) > 1e-4 * mse || fabs(n - norm) > 1e-3 * norm)
                fail_msg("%d workers, micro batches of %d: loss %g, gradient %g; undivided: %g, %g", o.workers, o.micro_batch, m, n,
                         mse, norm);
        }
    }
}

/* Stopping in the middle changes nothing but the time it takes. */
static int steps_left;

static bool stop_soon(void)
{
    return --steps_left <= 0;
}

static void resume_continues(int workers)
{
    TrainerOptions o = tiny_options(false, in_test_folder("data.h5"), in_test_folder("whole.h5"));
    o.workers = workers;
    OK(trainer_run(&o));
    o.out = in_test_folder("parts.h5");
    o.stop = stop_soon;
    steps_left = 5;
    o.samples = true;
    assert_int_equal(trainer_run(&o), STATUS_INTERRUPTED);
    assert_int_equal(access(in_test_folder("parts.samples.png"), F_OK), -1); /* who stops waits neither for a grid */
    assert_true(history_at(in_test_folder("parts.loss.csv"), 5, HELD_OUT) == 0); /* nor for held-out pictures */
    assert_true(history_at(in_test_folder("whole.loss.csv"), STEPS, HELD_OUT) > 0);
    o.samples = false;
    o.stop = NULL;
    o.resume = true;
    OK(trainer_run(&o));
    assert_same_checkpoint(in_test_folder("whole.resume.h5"), in_test_folder("parts.resume.h5"));
    assert_true(loss_at(in_test_folder("whole.loss.csv"), STEPS) == loss_at(in_test_folder("parts.loss.csv"), STEPS));
}

static void test_resume_continues_bit_for_bit(void **state)
{
    (void)state;
    resume_continues(1);
    TrainerOptions o = tiny_options(false, in_test_folder("data.h5"), in_test_folder("parts.h5"));
    o.resume = true;
    o.optimizer.total_steps = STEPS - 1;
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "12 steps are done, expected more than that as the number to reach, found 11"));
    resume_continues(2);
}

/* The child of test_sigkill: trains with a checkpoint after every step, slowly enough to be killed in the middle. */
static bool wait_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10 * 1000000}, NULL);
    return false;
}

static int child_main(const char *data, const char *out, const char *resume)
{
    TrainerOptions o = tiny_options(false, data, out);
    o.checkpoint_minutes = 1e-9;
    o.stop = wait_a_little;
    o.resume = *resume == '1';
    if (trainer_run(&o) == STATUS_OK) return 0;
    fprintf(stderr, "child: %s\n", status_message());
    return 1;
}

static pid_t start_child(const char *data, const char *out, bool resume)
{
    pid_t pid;
    char *argv[] = {"/proc/self/exe", "--child", (char *)data, (char *)out, resume ? "1" : "0", NULL};
    assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, environ), 0);
    return pid;
}

/* Waits until the checkpoint has been replaced `times` times, or the child ended. */
static void wait_for_checkpoints(const char *checkpoint, pid_t pid, int times, int *status)
{
    struct stat st;
    ino_t last = stat(checkpoint, &st) == 0 ? st.st_ino : 0;
    while (times > 0 && waitpid(pid, status, WNOHANG) == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (stat(checkpoint, &st) != 0 || st.st_ino == last) continue;
        last = st.st_ino;
        times--;
    }
}

static void test_sigkill_loses_no_more_than_a_checkpoint(void **state)
{
    (void)state;
    const char *data = in_test_folder("data.h5"), *out = in_test_folder("killed.h5"), *checkpoint = in_test_folder("killed.resume.h5");
    enum { KILLS = 3 };
    int status = 0;
    for (int kills = 0; kills < KILLS; kills++) { /* each later in a checkpoint's writing than the one before */
        pid_t pid = start_child(data, out, kills > 0);
        wait_for_checkpoints(checkpoint, pid, 2, &status);
        nanosleep(&(struct timespec){.tv_nsec = kills * 9 * 1000000}, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
    }
    assert_int_equal(waitpid(start_child(data, out, true), &status, 0) > 0, 1);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    TrainerOptions o = tiny_options(false, data, in_test_folder("unbroken.h5"));
    OK(trainer_run(&o));
    assert_same_checkpoint(in_test_folder("unbroken.resume.h5"), checkpoint);
}

static bool never_asked(void)
{
    fail_msg("a step was made");
    return true;
}

static void test_wrong_input(void **state)
{
    (void)state;
    TrainerOptions o = tiny_options(false, in_test_folder("absent.h5"), in_test_folder("x.h5"));
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "absent.h5"));
    o = tiny_options(false, in_test_folder("data.h5"), in_test_folder("x.txt"));
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
    o = tiny_options(false, in_test_folder("data.h5"), in_test_folder("x.h5"));
    o.out = in_test_folder("none/x.h5"); /* told before any step is made */
    o.stop = never_asked;
    assert_int_equal(trainer_run(&o), STATUS_IO);
    assert_non_null(strstr(status_message(), "none/x.h5: cannot be written"));
    o.out = in_test_folder("x.h5");
    o.stop = NULL;
    o.resume = true; /* nothing to resume */
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
    o.resume = false;
    o.config = "smal";
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
    assert_non_null(strstr(status_message(), "small"));
    o.config = "tiny";
    o.init = in_test_folder("data.h5"); /* a data set is no weights */
    assert_int_equal(trainer_run(&o), STATUS_BAD_INPUT);
}

/* A model without variances would be read beyond its answer's end. */
static void test_outputs(void **state)
{
    (void)state;
    TrainerOptions o = tiny_options(false, in_test_folder("data.h5"), in_test_folder("six.h5"));
    TextUNet *six, *three;
    o.optimizer.total_steps = 1;
    OK(trainer_run(&o));
    OK(text_unet_load(in_test_folder("six.h5"), "base", &six, NULL));
    TextUNetConfig c = six->config;
    c.unet.out_channels = 3;
    OK(text_unet_new(&c, &three));
    three->bpe = six->bpe;
    write_model(three, in_test_folder("three.h5"));
    three->bpe = NULL;
    text_unet_free(three);
    text_unet_free(six);
    o.init = in_test_folder("three.h5");
    FAILS(trainer_run(&o), STATUS_BAD_INPUT, "three.h5: a model with 3 outputs, expected 6");
}

static int make_folder(void **state)
{
    test_folder_setup(state);
    return tiny_dataset_write(in_test_folder("data.h5"), NULL) == STATUS_OK ? 0 : -1;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--child") == 0) return child_main(argv[2], argv[3], argv[4]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_stages_learn),
        cmocka_unit_test(test_inpainting),
        cmocka_unit_test(test_workers_and_micro_batches),
        cmocka_unit_test(test_resume_continues_bit_for_bit),
        cmocka_unit_test(test_sigkill_loses_no_more_than_a_checkpoint),
        cmocka_unit_test(test_wrong_input),
        cmocka_unit_test(test_outputs),
    };
    return cmocka_run_group_tests(tests, make_folder, test_folder_teardown);
}
