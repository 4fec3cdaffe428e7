/* The program as people run it: files, exit statuses, and the one line that says what was wrong. */
#include "base_model/base_model.h"
#include "common/image_read.h"
#include "common/png_write.h"
#include "tests/support_dataset.h"
#include "tests/support_models.h"
#include "text_transformer/text_unet_file.h"
#include "upsampler/upsampler.h"

#include <dirent.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

#define QUICK "--steps 3 --upsampler-steps 2 "

static char folder[64];

/* --- running ---------------------------------------------------------------------------------------- */

typedef struct Run {
    int exit_status; /* 128 + N: killed by signal N */
    char out[16384], err[8192];
    long peak_kb;
} Run;

static pid_t start(const char *command)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) return child;
    signal(SIGINT, SIG_DFL); /* shells start background jobs, and so perhaps this test, with it ignored */
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static void read_all(const char *name, char *text, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;
    text[n] = 0;
    if (f) fclose(f);
}

static void finish(pid_t child, Run *r)
{
    int how;
    struct rusage usage;
    assert_int_equal(wait4(child, &how, 0, &usage), child);
    r->exit_status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    r->peak_kb = usage.ru_maxrss;
    read_all("stdout.txt", r->out, sizeof r->out);
    read_all("stderr.txt", r->err, sizeof r->err);
}

/* A shell's command line in the test's folder; $G is the program. `exec` makes it the child itself. */
static pid_t start_line(const char *words)
{
    char command[4096];
    snprintf(command, sizeof command, "cd %s && { %s ; } > stdout.txt 2> stderr.txt", folder, words);
    return start(command);
}

static void run(Run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void run(Run *r, const char *format, ...)
{
    char words[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    finish(start_line(words), r);
}

static void run_ok(Run *r, const char *words)
{
    run(r, "%s", words);
    if (r->exit_status != 0) fail_msg("%s: exit status %d, \"%s\"", words, r->exit_status, r->err);
}

static bool exists(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static int count_files(void)
{
    int count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while (readdir(dir)) count++;
    closedir(dir);
    return count;
}

/* Exit status 2, one line on stderr with this in it, nothing on stdout, no file more than before. */
static void refuse(const char *words, const char *part)
{
    Run r;
    int before = count_files();
    run(&r, "%s", words);
    char *end = strchr(r.err, '\n');
    if (r.exit_status != 2 || !strstr(r.err, part) || !end || end[1] || *r.out)
        fail_msg("%s: exit status %d, \"%s\", stdout \"%s\"; expected 2 and one line with \"%s\"", words, r.exit_status, r.err,
                 r.out, part);
    if (count_files() != before) fail_msg("%s: left a file behind", words);
}

static void check_picture(const char *name, int side)
{
    char path[512];
    Image image = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (image_read(path, &image) != STATUS_OK) fail_msg("%s", status_message());
    assert_int_equal(image.w, side);
    assert_int_equal(image.h, side);
    image_release(&image);
}

/* "" when the file has no such chunk. */
static void read_chunk(const char *name, const char *key, char *value, size_t size)
{
    char path[512];
    PngTexts texts;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (png_read_text(path, &texts) != STATUS_OK) fail_msg("%s", status_message());
    const char *found = png_texts_find(&texts, key);
    snprintf(value, size, "%s", found ? found : "");
    png_texts_release(&texts);
}

static void assert_same_files(const char *a, const char *b)
{
    Run r;
    run(&r, "cmp %s %s", a, b);
    if (r.exit_status != 0) fail_msg("%s and %s differ", a, b);
}

static int setup(void **state)
{
    (void)state;
    char build[PATH_MAX], program[PATH_MAX + 16], path[256];
    const char *name = getenv("GLIDE_BUILD");
    if (!realpath(name ? name : "build", build)) return -1;
    snprintf(program, sizeof program, "%s/glide", build);
    make_test_folder(folder);
    write_tiny_models(folder);
    setenv("G", program, 1);
    setenv("GLIDE_WEIGHTS", folder, 1);
    snprintf(path, sizeof path, "%s/data.h5", folder);
    return tiny_dataset_write(path, NULL) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    remove_test_folder(folder);
    return 0;
}

/* --- glide sample ----------------------------------------------------------------------------------- */

static void test_sample(void **state)
{
    (void)state;
    Run r;
    char value[512];
    run_ok(&r, "$G sample 'red apple' --seed 5 -o apple.png " QUICK);
    assert_string_equal(r.out, "apple.png\n");
    check_picture("apple.png", TINY_UPSAMPLER_SIDE);
    static const char *const chunks[][2] = {{"prompt", "red apple"}, {"seed", "5"}, {"image", "1"}, {"sampler", "ddpm"},
                                            {"steps", "3"}, {"guidance_scale", "3"}, {"upsampler_steps", "2"}};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        read_chunk("apple.png", chunks[i][0], value, sizeof value);
        assert_string_equal(value, chunks[i][1]);
    }
    run_ok(&r, "$G sample 'red apple' --no-upsample --steps 2 -s 5 -o small.png --quiet");
    assert_string_equal(r.out, "");
    assert_string_equal(r.err, "");
    check_picture("small.png", TINY_BASE_SIDE);
    run_ok(&r, "$G sample 'red apple' -s 5 --sampler ddpm -g 2.5 --precision f32 --upsample-temp 1 -o other.png -q " QUICK);
    read_chunk("other.png", "guidance_scale", value, sizeof value);
    assert_string_equal(value, "2.5");
    read_chunk("other.png", "precision", value, sizeof value);
    assert_string_equal(value, "f32");
    run_ok(&r, "$G sample 'red apple' -s 5 -q " QUICK "&& mv glide.png default.png");
    assert_same_files("default.png", "apple.png");
    run_ok(&r, "$G sample 'red apple' -s 5 -o - " QUICK "> piped.png");
    assert_same_files("piped.png", "apple.png");
}

static void test_same_bytes(void **state)
{
    (void)state;
    Run r;
    run_ok(&r, "$G sample 'a cat' --seed 9 -n 4 -o many.png --threads 2 -q " QUICK);
    run_ok(&r, "$G sample 'a cat' --seed 9 -o one.png --threads 1 -q " QUICK);
    run_ok(&r, "$G sample 'a cat' --seed 9 --image 3 -o third.png -q " QUICK);
    run_ok(&r, "$G sample 'a dog' 'a cat' --seed 9 -n 2 -o pair.png --threads 1 -q " QUICK);
    assert_same_files("one.png", "many-1.png");
    assert_same_files("third.png", "many-3.png");
    assert_same_files("pair-3.png", "many-1.png"); /* another prompt before it changes nothing */
    assert_same_files("pair-4.png", "many-2.png");
}

static void test_names(void **state)
{
    (void)state;
    Run r;
    run_ok(&r, "$G sample cat --no-upsample --steps 2 -s 1 -n 10 -o ten.png");
    assert_true(exists("ten-01.png") && exists("ten-10.png") && !exists("ten.png"));
    assert_memory_equal(r.out, "ten-01.png\nten-02.png\n", 22);
    run_ok(&r, "mkdir -p out && $G sample cat dog --no-upsample --steps 2 -s 1 -o out/");
    assert_string_equal(r.out, "out/glide-1.png\nout/glide-2.png\n");
    assert_true(exists("out/glide-1.png") && exists("out/glide-2.png"));
    run_ok(&r, "$G sample cat --no-upsample --steps 2 -s 1 -o out -q");
    assert_true(exists("out/glide.png"));
    run_ok(&r, "$G sample cat --no-upsample --steps 2 -s 1 -n 2 -o plain -q");
    assert_true(exists("plain-1") && exists("plain-2"));
}

static void test_seed(void **state)
{
    (void)state;
    Run r;
    char seed[64], line[128];
    run_ok(&r, "$G sample cat --no-upsample --steps 2 -o seed.png");
    read_chunk("seed.png", "seed", seed, sizeof seed);
    snprintf(line, sizeof line, "seed %s\n", seed);
    assert_memory_equal(r.err, line, strlen(line));
    run(&r, "$G sample cat --no-upsample --steps 2 -q -o again.png --seed %s", seed);
    assert_int_equal(r.exit_status, 0);
    assert_same_files("seed.png", "again.png");
}

static void test_long_prompt(void **state)
{
    (void)state;
    Run r;
    run_ok(&r, "$G sample \"$(yes apple | head -10000 | tr '\\n' ' ')\" -q -s 1 -o long.png " QUICK);
    const char *expected = "glide sample: warning: \"apple apple";
    assert_memory_equal(r.err, expected, strlen(expected));
    assert_non_null(strstr(r.err, "cut to its first 12 of 20000 tokens\n"));
    assert_ptr_equal(strchr(r.err, '\n'), r.err + strlen(r.err) - 1);
    check_picture("long.png", TINY_UPSAMPLER_SIDE);
}

static void test_wrong_usage(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"$G sample", "expected PROMPT..., found nothing"},
        {"$G sample ''", "expected a prompt, found an empty one; say what to draw"},
        {"$G sample ok ' \t '", "expected a prompt, found an empty one"},
        {"$G sample cat --sed 1", "--sed: no such option; did you mean --seed?"},
        {"$G sample cat --seed x", "--seed: expected a whole number of at least 0, found \"x\""},
        {"$G sample cat -n 0", "--number: expected a whole number from 1 to 100000, found \"0\""},
        {"$G sample cat --sampler ddmi", "did you mean ddim?"},
        {"$G sample cat --steps 1", "--steps: expected a whole number from 2 to 1000, or a respacing"},
        {"$G sample cat --steps ''", "--steps: expected"},
        {"$G sample cat --steps fast", "found \"fast\""},
        {"$G sample cat --upsampler-steps 2000", "--upsampler-steps: expected"},
        {"$G sample cat --guidance-scale 1e9", "--guidance-scale: expected a number from 0 to 100"},
        {"$G sample cat --precision f16", "--precision: expected f32 or bf16, found \"f16\""},
        {"$G sample cat --no-upsample --upsampler-steps 3", "--no-upsample: expected no option of the upsampler"},
        {"$G sample cat -o cat.jpg", "ends in .png"},
        {"$G sample cat -n 2 -o -", "expected a file name for 2 pictures"},
        {"$G sample cat -o ''", "--output: expected a file name"},
        {"$G smaple cat", "did you mean \"sample\"?"},
        {"$G upsample small.png", "--output: expected a file"},
        {"$G upsample", "expected IN, found nothing"},
        {"$G dataset", "--output: expected a file for the data set"},
        {"$G dataset -o x.h5 --cahce d", "did you mean --cache?"},
        {"$G bench fast", "expected all, conv, train or sample, found \"fast\""},
        {"$G info", "expected FILE..., found nothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse(cases[i][0], cases[i][1]);
}

static void test_unwritable(void **state)
{
    (void)state;
    Run r;
    refuse("$G sample cat -q -o nowhere/cat.png", "nowhere");
    refuse("$G sample cat -q -o nowhere/", "there is no folder nowhere/");
    refuse("$G sample cat -q -o base.h5/cat.png", "base.h5/cat.png");
    refuse("$G sample cat -q -o /proc/cat.png " QUICK, "/proc/cat.png: cannot be written");
    refuse("$G sample cat -q -s 1 -o /dev/full " QUICK, "/dev/full: cannot be written: No space left on device");
    refuse("$G sample cat -q -s 1 -o - " QUICK "> /dev/full", "standard output: cannot be written: No space left on device");
    if (geteuid() != 0) {
        run_ok(&r, "mkdir -p closed && chmod 555 closed");
        refuse("$G sample cat -q -o closed/cat.png", "closed");
    }
    run_ok(&r, "echo precious > full.png");
    refuse("(trap '' XFSZ; ulimit -f 4; exec $G sample cat -q -s 1 -o full.png " QUICK ")", "full.png: cannot be written: File too large");
    run_ok(&r, "cat full.png"); /* as it was */
    assert_string_equal(r.out, "precious\n");
    refuse("(trap '' XFSZ; ulimit -f 4; exec $G sample cat -q -s 1 -n 3 -o fresh.png " QUICK ")", "fresh-1.png: cannot be written");
}

/* --- wrong files ------------------------------------------------------------------------------------ */

/* The header of one model over the parameters of another. */
static void write_foreign(const char *path)
{
    H5File *file;
    TextUNet *m = tiny_model(false, 1), *other = tiny_model(true, 1);
    assert_int_equal(weights_create(path, "base", &file), STATUS_OK);
    assert_int_equal(text_unet_write_header(file, m), STATUS_OK);
    assert_int_equal(weights_write_params(file, &other->params, H5KIND_F32), STATUS_OK);
    assert_int_equal(h5file_commit(file), STATUS_OK);
    text_unet_free(m);
    text_unet_free(other);
}

static void test_wrong_files(void **state)
{
    (void)state;
    Run r;
    char path[256];
    snprintf(path, sizeof path, "%s/foreign.h5", folder);
    write_foreign(path);
    run_ok(&r, "head -c 100000 base.h5 > cut.h5; head -c 3000 base.h5 > stub.h5; : > empty.h5; echo hello > text.h5;"
               "$G sample cat --no-upsample --steps 2 -q -o picture.png; head -c 200 picture.png > cut.png; ls > /dev/null");
    static const char *const cases[][2] = {
        {"-w cut.h5", "cut.h5: "},
        {"-w stub.h5", "stub.h5: "},
        {"-w empty.h5", "empty.h5: "},
        {"-w text.h5", "text.h5: not an HDF5 file"},
        {"-w picture.png", "picture.png: not an HDF5 file"},
        {"-w data.h5", "data.h5: not a file of weights"},
        {"-w upsampler.h5", "upsampler.h5: weights of kind \"upsampler\", expected \"base\""},
        {"--upsampler-weights base.h5", "base.h5: weights of kind \"base\", expected \"upsampler\""},
        {"-w foreign.h5", "foreign.h5: the weights do not fit the model"},
        {"-w absent.h5", "absent.h5: "},
        {"-w .", ".: "},
        {"-w /dev/null", "/dev/null: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[256];
        snprintf(words, sizeof words, "$G sample cat -q -o wrong.png " QUICK "%s", cases[i][0]);
        refuse(words, cases[i][1]);
    }
    refuse("GLIDE_WEIGHTS=/nowhere $G sample cat -q -o wrong.png", "no default weights: $GLIDE_WEIGHTS is /nowhere");
    refuse("$G upsample absent.png -o wrong.png", "absent.png: ");
    refuse("$G upsample cut.png -o wrong.png", "cut.png: ");
    refuse("$G upsample base.h5 -o wrong.png", "base.h5: ");
    refuse("$G upsample picture.png -o nowhere/wrong.png", "nowhere");
    refuse("$G upsample picture.png -o picture.png", "expected another name");
    refuse("$G upsample picture.png -o wrong.png --upsampler-weights cut.h5 -q", "cut.h5: ");
    static const char *const infos[][2] = {
        {"absent", "absent: cannot be read: No such file or directory"}, {".", ".: cannot be read: Is a directory"},
        {"text.h5", "text.h5: this is neither weights, nor a checkpoint, nor a data set, nor a picture"},
        {"empty.h5", "empty.h5: empty: neither"}, {"stub.h5", "stub.h5: "}, {"cut.png", "cut.png: "}};
    for (size_t i = 0; i < sizeof infos / sizeof *infos; i++) {
        char words[256];
        snprintf(words, sizeof words, "$G info %s", infos[i][0]);
        refuse(words, infos[i][1]);
    }
}

/* Every truncation of a weights file is refused, or the file is complete. */
static void test_truncation(void **state)
{
    (void)state;
    Run r;
    struct stat st;
    char path[256];
    snprintf(path, sizeof path, "%s/base.h5", folder);
    assert_int_equal(stat(path, &st), 0);
    for (int i = 1; i <= 12; i++) {
        long size = (long)st.st_size * i / 13;
        run(&r, "head -c %ld base.h5 > short.h5 && $G info short.h5", size);
        char *end = strchr(r.err, '\n');
        if (r.exit_status != 2 || !end || end[1]) fail_msg("%ld bytes: exit status %d, \"%s\"", size, r.exit_status, r.err);
    }
}

/* --- Ctrl-C ----------------------------------------------------------------------------------------- */

static void test_interrupt(void **state)
{
    (void)state;
    Run r;
    run_ok(&r, "rm -rf stop && mkdir stop");
    pid_t child = start_line("exec $G sample cat -n 2000 -s 1 -o stop/cat.png " QUICK);
    for (int i = 0; i < 3000 && !exists("stop/cat-0002.png"); i++) nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    assert_int_equal(kill(child, SIGINT), 0);
    finish(child, &r);
    if (r.exit_status != 130) fail_msg("exit status %d, \"%s\"", r.exit_status, r.err);
    int written = 0;
    const char *told = strstr(r.err, "glide sample: stopped; ");
    assert_non_null(told);
    assert_int_equal(sscanf(told, "glide sample: stopped; %d of 2000 pictures written\n", &written), 1);
    assert_true(written >= 2 && written < 2000);
    run_ok(&r, "ls -A stop | wc -l; ls -A stop | grep -vc '^cat-[0-9]*.png$' || :");
    assert_int_equal(atoi(r.out), written);               /* those that it tells of */
    assert_string_equal(strchr(r.out, '\n') + 1, "0\n"); /* and nothing else */
    check_picture("stop/cat-0001.png", TINY_UPSAMPLER_SIDE);
}

/* --- glide upsample --------------------------------------------------------------------------------- */

static void test_upsample(void **state)
{
    (void)state;
    Run r;
    char value[64];
    run_ok(&r, "$G sample 'red apple' --seed 4 -o whole.png -q " QUICK);
    run_ok(&r, "$G sample 'red apple' --seed 4 -o half.png -q --no-upsample --steps 3");
    run_ok(&r, "$G upsample half.png -o large.png --prompt 'red apple' --seed 4 --steps 2");
    assert_string_equal(r.out, "large.png\n");
    check_picture("large.png", TINY_UPSAMPLER_SIDE);
    Image a = {0}, b = {0};
    char path[256];
    snprintf(path, sizeof path, "%s/whole.png", folder);
    assert_int_equal(image_read(path, &a), STATUS_OK);
    snprintf(path, sizeof path, "%s/large.png", folder);
    assert_int_equal(image_read(path, &b), STATUS_OK);
    assert_memory_equal(a.pixels, b.pixels, image_bytes(&a));
    image_release(&a);
    image_release(&b);
    read_chunk("large.png", "upsampler_steps", value, sizeof value);
    assert_string_equal(value, "2");
    read_chunk("large.png", "sampler", value, sizeof value);
    assert_string_equal(value, "");

    assert_int_equal(image_init(90, 40, &a), STATUS_OK); /* any picture */
    snprintf(path, sizeof path, "%s/wide.png", folder);
    assert_int_equal(png_write(path, &a, NULL, 0), STATUS_OK);
    image_release(&a);
    run_ok(&r, "mkdir -p up && $G upsample wide.png -o up --seed 4 --steps 2 -q");
    assert_string_equal(r.err, "glide upsample: warning: wide.png has 90x40 pixels; made square, its proportions change\n");
    check_picture("up/wide-256.png", TINY_UPSAMPLER_SIDE);
    run_ok(&r, "$G upsample - -o - --prompt 'red apple' --seed 4 --steps 2 < half.png > piped.png");
    assert_same_files("piped.png", "large.png");
}

/* --- glide inpaint, glide sample --init-image ------------------------------------------------------- */

/* A grey picture of w x h, brighter to the right. */
static void write_ramp(const char *name, int w, int h)
{
    Image a = {0};
    char path[256];
    assert_int_equal(image_init(w, h, &a), STATUS_OK);
    for (int i = 0; i < 3 * w * h; i++) a.pixels[i] = (uint8_t)(i / 3 % w * 255 / (w > 1 ? w - 1 : 1));
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(png_write(path, &a, NULL, 0), STATUS_OK);
    image_release(&a);
}

static void test_inpaint(void **state)
{
    (void)state;
    Run r;
    char value[64];
    write_ramp("ramp.png", 70, 50);
    write_ramp("mask.png", 7, 1); /* the right half */
    run_ok(&r, "$G inpaint ramp.png --mask mask.png -p cat -o painted.png --seed 1 --repeats 2 -n 2 " QUICK);
    assert_string_equal(r.out, "painted-1.png\npainted-2.png\n");
    read_chunk("painted-2.png", "repeats", value, sizeof value);
    assert_string_equal(value, "2");
    run_ok(&r, "mkdir -p in && $G inpaint - -m mask.png --invert-mask -p cat -o in -q --seed 1 " QUICK " < ramp.png");
    assert_true(exists("in/glide-painted.png"));
    refuse("$G inpaint ramp.png -o x.png", "--mask: expected a picture");
    refuse("$G inpaint ramp.png -m mask.png", "--output: expected a file");
    refuse("$G inpaint ramp.png -m mask.png -o ramp.png", "is the picture to paint on");
    refuse("$G inpaint - -m - -o x.png < ramp.png", "standard input is the picture already");
    refuse("$G inpaint ramp.png -m missing.png -o x.png", "missing.png");
    refuse("$G inpaint ramp.png -m base.h5 -o x.png", "found an HDF5 file");
    refuse("$G inpaint ramp.png -m mask.png -o x.png --repeats 17", "--repeats");
    run_ok(&r, "$G sample cat --init-image ramp.png --strength 0.25 -o from.png --seed 1 " QUICK);
    read_chunk("from.png", "strength", value, sizeof value);
    assert_string_equal(value, "0.25");
    refuse("$G sample cat --strength 0.5 -o x.png", "--strength: expected --init-image");
    refuse("$G sample cat --init-image missing.png -o x.png", "missing.png");
}

/* --- glide info ------------------------------------------------------------------------------------- */

static void expect_words(const Run *r, const char *const *words)
{
    for (; *words; words++)
        if (!strstr(r->out, *words)) fail_msg("\"%s\" is missing in:\n%s", *words, r->out);
}

static void test_info(void **state)
{
    (void)state;
    Run r;
    char hash[64], line[128];
    run_ok(&r, "$G sample '빨간 사과' --seed 8 -o info.png -q " QUICK " && $G info info.png");
    expect_words(&r, (const char *const[]){"info.png: PNG picture, 64x64\n", "prompt             빨간 사과\n",
                                           "seed               8\n", "Software           glide ", NULL});
    read_chunk("info.png", "weights", hash, sizeof hash);
    snprintf(line, sizeof line, "hash               %s\n", hash);
    run_ok(&r, "$G info base.h5");
    expect_words(&r, (const char *const[]){"base.h5: weights of kind base\n", line, "tokenizer          263 tokens\n", "num_channels 32",
                                           "half precision", "trained_with       nothing: random numbers of a test\n", NULL});
    run_ok(&r, "$G info upsampler.h5 data.h5");
    expect_words(&r, (const char *const[]){"upsampler.h5: weights of kind upsampler\n", "super_res yes", "data.h5: data set\n",
                                           "pictures           12 of 5 concepts", "test_concept", "all ", NULL});
    char path[256];
    Image plain = {0};
    assert_int_equal(image_init(3, 2, &plain), STATUS_OK);
    snprintf(path, sizeof path, "%s/plain.png", folder);
    assert_int_equal(png_write(path, &plain, NULL, 0), STATUS_OK);
    image_release(&plain);
    run_ok(&r, "$G info plain.png");
    assert_string_equal(r.out, "plain.png: PNG picture, 3x2, no recipe: not made by glide\n");
}

/* --- glide dataset, help ---------------------------------------------------------------------------- */

static void test_dataset(void **state)
{
    (void)state;
    Run r;
    run_ok(&r, "mkdir -p bin && cp $G bin/ && rm -f bin/glide-dataset");
    refuse("bin/glide dataset -o x.h5", "glide-dataset: cannot be run: No such file or directory");
    run_ok(&r, "printf '#!/bin/sh\\nfor a; do echo \"<$a>\"; done; exit 7\\n' > bin/glide-dataset && chmod +x bin/glide-dataset");
    run(&r, "bin/glide dataset -o 'my data.h5' --cache=c --lists l --no-fetch -t 3 -q");
    assert_int_equal(r.exit_status, 7);
    assert_string_equal(r.out, "<-o>\n<my data.h5>\n<--cache>\n<c>\n<--lists>\n<l>\n<--no-fetch>\n<--quiet>\n<--threads>\n<3>\n");
}

static void test_help(void **state)
{
    (void)state;
    static const char *const commands[] = {"sample", "upsample", "train", "dataset", "info", "bench", "help"};
    Run r;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        run(&r, "$G help %s", commands[i]);
        assert_int_equal(r.exit_status, 0);
        char usage[64];
        snprintf(usage, sizeof usage, "usage: glide %s", commands[i]);
        assert_memory_equal(r.out, usage, strlen(usage));
        run(&r, "$G help | grep -c '^  %s '", commands[i]);
        assert_string_equal(r.out, "1\n");
    }
    run_ok(&r, "$G --version");
    assert_memory_equal(r.out, "glide 0.", 8);
}

/* Threads that wait sleep, unless the user wants it otherwise; see main.c. */
static void test_wait_policy(void **state)
{
    (void)state;
    Run r;
    run_ok(&r, "env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT OMP_DISPLAY_ENV=true $G --version");
    assert_non_null(strcasestr(r.err, "passive"));
    run_ok(&r, "env -u GOMP_SPINCOUNT OMP_WAIT_POLICY=active OMP_DISPLAY_ENV=true $G --version");
    assert_null(strcasestr(r.err, "passive"));
}

/* --- limits ----------------------------------------------------------------------------------------- */

/* With models of the default weights' size: under 400 MB (bf16; single precision takes more where the processor has none). */
static void test_memory(void **state)
{
    (void)state;
    if (SANITIZED) skip();
    Run r;
    run_ok(&r, "mkdir -p real");
    char path[256];
    TextUNetConfig c;
    for (int upsampler = 0; upsampler < 2; upsampler++) {
        assert_int_equal(upsampler ? upsampler_config("small", &c) : base_model_config("small", &c), STATUS_OK);
        TextUNet *m = random_model(&c, 1);
        snprintf(path, sizeof path, "%s/real/%s", folder, upsampler ? "upsampler.h5" : "base.h5");
        write_model(m, path);
        text_unet_free(m);
    }
    run_ok(&r, "GLIDE_WEIGHTS=real exec $G sample cat -n 4 -s 1 -q -o real/cat.png --precision bf16 --steps 2 --upsampler-steps 2");
    check_picture("real/cat-4.png", 256);
    print_message("peak memory %ld MB\n", r.peak_kb / 1000);
    assert_true(r.peak_kb * 1.024e-3 < 400);
}

/* Minutes on kernels without vectors: with GLIDE_TEST_LONG only. */
static void test_bench(void **state)
{
    (void)state;
    Run r;
    if (!getenv("GLIDE_TEST_LONG")) skip();
    run_ok(&r, "$G bench all --config tiny --batch 2 --side 32");
    expect_words(&r, (const char *const[]){"convolution rate", "training step of the base model \"tiny\"", "images/s",
                                           "sampling step of the upsampler", "% of the", "from prompt to PNG", NULL});
    run_ok(&r, "$G bench sample --json");
    expect_words(&r, (const char *const[]){"\"sample_base\": {", "\"percent_of_convolution_rate\": ", "\"prompt_to_png\": {", NULL});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample),      cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_names),
        cmocka_unit_test(test_seed),        cmocka_unit_test(test_long_prompt), cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_unwritable),  cmocka_unit_test(test_wrong_files), cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_interrupt),   cmocka_unit_test(test_upsample),   cmocka_unit_test(test_inpaint),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_dataset),     cmocka_unit_test(test_help),       cmocka_unit_test(test_memory),
        cmocka_unit_test(test_wait_policy),
        cmocka_unit_test(test_bench),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
