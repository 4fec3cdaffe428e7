/* glide upsample, glide inpaint and glide sample --init-image as people run them. */
#include "common/image_read.h"
#include "common/png_write.h"
#include "tests/support_cli.h"
#include "tests/support_models.h"
#include "tests/support_pictures.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <pty.h>
#include <unistd.h>
#include <cmocka.h>

static void check_size(const char *name, int w, int h)
{
    Image a = {0};
    char path[256];
    snprintf(path, sizeof path, "%s/%s", test_folder, name);
    if (image_read(path, &a) != STATUS_OK) fail_msg("%s", status_message());
    assert_int_equal(a.w, w);
    assert_int_equal(a.h, h);
    image_release(&a);
}

/* --- glide upsample --------------------------------------------------------------------------------- */

static void test_upsample(void **state)
{
    (void)state;
    CliOutcome r;
    char value[64];
    cli_run_ok(&r, "$G sample 'red apple' --seed 4 -o whole.png -q " QUICK);
    cli_run_ok(&r, "$G sample 'red apple' --seed 4 -o half.png -q --no-upsample --steps 3");
    cli_run_ok(&r, "$G upsample half.png -o large.png --prompt 'red apple' --seed 4 --steps 2 --fidelity 0");
    assert_string_equal(r.out, "large.png\n");
    cli_check_picture("large.png", TINY_UPSAMPLER_SIDE);
    Image a = {0}, b = {0};
    char path[256];
    snprintf(path, sizeof path, "%s/whole.png", test_folder);
    assert_int_equal(image_read(path, &a), STATUS_OK);
    snprintf(path, sizeof path, "%s/large.png", test_folder);
    assert_int_equal(image_read(path, &b), STATUS_OK);
    assert_memory_equal(a.pixels, b.pixels, image_bytes(&a));
    image_release(&a);
    image_release(&b);
    cli_read_recipe("large.png", "upsampler_steps", value, sizeof value);
    assert_string_equal(value, "2");
    cli_read_recipe("large.png", "sampler", value, sizeof value);
    assert_string_equal(value, "");

    assert_int_equal(image_init(90, 40, &a), STATUS_OK); /* any picture */
    snprintf(path, sizeof path, "%s/wide.png", test_folder);
    assert_int_equal(png_write(path, &a, NULL, 0), STATUS_OK);
    image_release(&a);
    cli_run_ok(&r, "mkdir -p up && $G upsample wide.png -o up --seed 4 --steps 2 -q");
    assert_string_equal(r.err, "");
    check_size("up/wide-x4.png", 360, 160);
    cli_run_ok(&r, "$G upsample - -o - --prompt 'red apple' --seed 4 --steps 2 --fidelity 0 < half.png > piped.png");
    cli_run_ok(&r, "$G verify piped.png --input half.png -q && $G verify large.png -q"); /* they differ in the input's name */
}

/* Several pictures and folders; one that cannot be read does not stop the others. */
static void test_upsample_many(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "mkdir -p in more && $G sample cat --no-upsample --steps 2 -s 1 -q -o in/b.png && cp in/b.png in/A.PNG && "
                   "cp in/b.png more/c.png && echo text > in/notes.txt");
    cli_run_ok(&r, "$G upsample in more/c.png -o out/ --seed 4 --steps 2 --scale 2");
    assert_non_null(strstr(r.err, "out/c-x2.png"));
    check_size("out/A-x2.png", 2 * TINY_BASE_SIDE, 2 * TINY_BASE_SIDE);
    check_size("out/b-x2.png", 2 * TINY_BASE_SIDE, 2 * TINY_BASE_SIDE);
    check_size("out/c-x2.png", 2 * TINY_BASE_SIDE, 2 * TINY_BASE_SIDE);
    cli_run_ok(&r, "$G upsample in/b.png -o out/ --seed 4 --steps 2 --size 50x40 -q");
    check_size("out/b-50x40.png", 50, 40);
    cli_run_ok(&r, "$G verify out/b-50x40.png --input in/b.png -q");
    cli_run(&r, "head -c 300 in/b.png > in/a.png; $G upsample in -o out/ --seed 4 --steps 2 -q");
    assert_int_equal(r.exit_status, 2);
    assert_non_null(strstr(r.err, "in/a.png: "));
    assert_non_null(strstr(r.err, "1 of 3 pictures could not be made"));
    check_size("out/b-x4.png", 4 * TINY_BASE_SIDE, 4 * TINY_BASE_SIDE);
    cli_run_ok(&r, "rm in/a.png; mkdir -p none");
    cli_run_ok(&r, "$G upsample in more/c.png -o shots --format jpeg --quality 40 --seed 4 --steps 2 -q && ls -m shots && "
                   "$G upsample in/b.png -o out --format jpeg --seed 4 --steps 2 -q && test $(stat -c %s shots/b-x4.jpg) -lt "
                   "$(stat -c %s out/b-x4.jpg) && head -c 3 shots/b-x4.jpg | od -An -tx1");
    assert_string_equal(r.out, "A-x4.jpg, b-x4.jpg, c-x4.jpg\n ff d8 ff\n");
    cli_run_ok(&r, "$G upsample in/b.png -o b.jpg --format jpeg -s 1 --steps 2 -q && cp b.jpg in/b-x4.jpg");
    cli_refuse("$G upsample in -o in --format jpeg", "in/b-x4.jpg is the picture to upsample");
    cli_refuse("$G upsample in/b.png -o x.png --format jpeg", "--format: expected an --output that ends in .jpg, or a folder");
    cli_refuse("$G upsample in/b.png -o - --format jpeg", "--format: expected an --output that ends in .jpg");
    cli_refuse("$G upsample in/b.png -o x.jpg --format png", "--format: expected an --output that ends in .png");
    cli_refuse("$G upsample in/b.png -o x.jpg --format gif", "--format: expected png or jpeg, found \"gif\"");
    cli_refuse("$G upsample in -o new --quality 40", "--quality: is of JPEG files, expected --format jpeg");
    assert_false(cli_exists("new"));
    assert_int_equal(remove(in_test_folder("in/b-x4.jpg")), 0);
    cli_refuse("$G upsample in more -o one.txt/two", "--output: expected a folder for several pictures");
    cli_refuse("$G upsample in/b.png in/b.png -o out", "would both be written to out/b-x4.png");
    cli_refuse("$G upsample absent/ -o absent-too/", "absent/: cannot be read: No such file or directory");
    cli_refuse("$G upsample none -o out", "none: a folder without PNG, JPEG or WebP files");
    cli_refuse("$G upsample in/b.png -o out --size 50", "--size: expected WIDTHxHEIGHT, such as 1920x1080, found \"50\"");
    cli_refuse("$G upsample in/b.png -o out --size 50x40 --scale 2", "--size and --scale: expected one of the two");
    cli_refuse("$G upsample in/b.png -o big.png --size 9999x9999", "9999x9999 is more than 8 times"); /* before the seed is told */
    cli_refuse("$G upsample in/b.png -o out --scale 3", "--scale");
    cli_refuse("$G upsample in/b.png -o out --tile 40", "--tile: expected a multiple of 16, found 40");
}

static void write_file(const char *name, FileBytes f)
{
    write_bytes(in_test_folder(name), f.bytes, f.size);
    free(f.bytes);
}

/* What the file `name` is: its size, channels and bits. */
static void check_kind(const char *name, int w, int h, int channels, int bits, bool grey, bool profile)
{
    Picture p;
    if (picture_read(in_test_folder(name), &p) != STATUS_OK) fail_msg("%s", status_message());
    assert_int_equal(p.w, w);
    assert_int_equal(p.h, h);
    assert_int_equal(p.channels, channels);
    assert_int_equal(p.bits, bits);
    assert_int_equal(p.grey, grey);
    assert_int_equal(p.icc != NULL, profile);
    picture_release(&p);
}

static void write_formats(void)
{
    unsigned char icc[TEST_ICC_SIZE], exif[TEST_EXIF_SIZE];
    Picture alpha = test_picture(65, 63, 4, 8, false), deep = test_picture(20, 10, 3, 16, false);
    Picture grey = test_picture(12, 8, 3, 8, true), dot = test_picture(1, 1, 3, 8, false);
    Picture strip = test_picture(3, 300, 3, 8, false);
    test_icc("RGB ", icc);
    test_exif(8, true, exif);
    assert_int_equal(picture_set_profile(&deep, icc, sizeof icc), STATUS_OK);
    assert_int_equal(picture_set_profile(&alpha, icc, sizeof icc), STATUS_OK);
    write_file("alpha.webp", test_webp_file(&alpha, false, NULL));
    write_file("deep.png", test_png_file(&deep, exif));
    write_file("photo.jpg", test_jpeg_file(&deep, exif));
    write_file("grey.jpg", test_jpeg_file(&grey, NULL));
    write_file("dot.png", test_png_file(&dot, NULL));
    write_file("strip.webp", test_webp_file(&strip, true, NULL));
    FileBytes bomb = test_png_file(&dot, NULL);
    memcpy(bomb.bytes + 16, "\0\0\xff\xdc\0\0\x80\0\x08\x02\0\0\0\x63\xe9\xfd\xda", 17); /* 65500x32768, 2^31 pixels */
    write_file("bomb.png", bomb);
    write_bytes(in_test_folder("empty.png"), "", 0);
    picture_release(&alpha);
    picture_release(&deep);
    picture_release(&grey);
    picture_release(&dot);
    picture_release(&strip);
}

static void test_upsample_formats(void **state)
{
    (void)state;
    CliOutcome r;
    char value[64];
    write_formats();
    cli_run_ok(&r, "mkdir -p kinds && "
                   "$G upsample alpha.webp deep.png photo.jpg grey.jpg dot.png strip.webp -o kinds -s 1 --steps 2 -q");
    check_kind("kinds/alpha-x4.png", 260, 252, 4, 8, false, true);
    check_kind("kinds/deep-x4.png", 40, 80, 3, 16, false, true); /* turned */
    check_kind("kinds/photo-x4.png", 40, 80, 3, 8, false, true);
    check_kind("kinds/grey-x4.png", 48, 32, 3, 8, true, false);
    check_kind("kinds/dot-x4.png", 4, 4, 3, 8, false, false);
    check_kind("kinds/strip-x4.png", 12, 1200, 3, 8, false, false);
    cli_run_ok(&r, "$G verify kinds/alpha-x4.png --input alpha.webp -q");
    cli_run_ok(&r, "$G upsample deep.png -o deep.JPG -s 1 --steps 2 -q --quality 30");
    cli_run_ok(&r, "$G upsample deep.png -o fine.jpeg -s 1 --steps 2 -q");
    check_kind("deep.JPG", 40, 80, 3, 8, false, true);
    cli_run_ok(&r, "test $(stat -c %s deep.JPG) -lt $(stat -c %s fine.jpeg)");
    cli_read_recipe("fine.jpeg", "upsampler_steps", value, sizeof value);
    assert_string_equal(value, "2");
    cli_run_ok(&r, "$G sample cat -s 1 -o cat.jpg -q " QUICK "&& "
                   "$G sample --from cat.jpg -q -o again.png && $G recipe --a1111 cat.jpg");
    assert_non_null(strstr(r.out, "Seed: 1"));
    cli_run_ok(&r, "$G info cat.jpg strip.webp");
    assert_non_null(strstr(r.out, "strip.webp: WebP picture, 3x300"));
    cli_refuse("$G verify cat.jpg", "cat.jpg: a JPEG does not hold the pixels as they were made");
    cli_refuse("$G sample cat -o x.png --quality 90", "--quality: is of JPEG files");
    cli_refuse("$G upsample bomb.png -o x.png", "bomb.png: PNG cannot be read: 65500x32768 pixels");
    cli_refuse("$G upsample empty.png -o x.png", "empty.png: expected a PNG, JPEG or WebP picture, found an empty file");
    cli_refuse("head -c 100 photo.jpg | $G upsample - -o x.png", "standard input: JPEG cannot be read");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* What cannot fit is refused before anything is done; what can takes about 28 bytes a pixel besides what a small picture takes. */
static void test_upsample_memory(void **state)
{
    (void)state;
    CliOutcome small, large;
    Picture p = test_picture(2600, 2600, 3, 8, false);
    write_file("huge.png", test_png_file(&p, NULL));
    picture_release(&p);
    p = test_picture(300, 200, 3, 8, false);
    write_file("large.png", test_png_file(&p, NULL));
    picture_release(&p);
    cli_refuse("(ulimit -v 3000000; exec $G upsample huge.png -s 1 -o x.png)",
               "huge.png: 2600x2600 to 10400x10400 pixels: needs about");
    cli_run_ok(&small, "exec $G upsample dot.png -s 1 -o dot-x4.png --steps 2 -q");
    cli_run_ok(&large, "exec $G upsample large.png -s 1 -o large-x4.png --steps 2 -q");
    double bytes = (double)(large.peak_kb - small.peak_kb) * 1024 / (1200 * 800);
    print_message("%.1f bytes a pixel\n", bytes);
    assert_true(bytes < 33); /* the windows' memory of the tiny model, 64x64 pixels, is in it */
}
#endif

/* --- glide inpaint, glide sample --init-image ------------------------------------------------------- */

/* A grey picture of w x h, brighter to the right. */
static void write_ramp(const char *name, int w, int h)
{
    Image a = {0};
    char path[256];
    assert_int_equal(image_init(w, h, &a), STATUS_OK);
    for (int i = 0; i < 3 * w * h; i++) a.pixels[i] = (uint8_t)(i / 3 % w * 255 / (w > 1 ? w - 1 : 1));
    snprintf(path, sizeof path, "%s/%s", test_folder, name);
    assert_int_equal(png_write(path, &a, NULL, 0), STATUS_OK);
    image_release(&a);
}

static void test_inpaint(void **state)
{
    (void)state;
    CliOutcome r;
    char value[64];
    write_ramp("ramp.png", 70, 50);
    write_ramp("mask.png", 7, 1); /* the right half */
    cli_run_ok(&r, "$G inpaint ramp.png --mask mask.png -p cat -o painted.png --seed 1 --repeats 2 -n 2 " QUICK);
    assert_string_equal(r.out, "painted-1.png\npainted-2.png\n");
    cli_read_recipe("painted-2.png", "repeats", value, sizeof value);
    assert_string_equal(value, "2");
    cli_run_ok(&r, "mkdir -p in && $G inpaint - -m mask.png --invert-mask -p cat -o in -q --seed 1 " QUICK " < ramp.png");
    assert_true(cli_exists("in/glide-painted.png"));
    cli_run_ok(&r, "cp base.h5 base-inpaint.h5 && $G inpaint ramp.png -m mask.png -o masked.png -q --seed 1 " QUICK
               " && rm base-inpaint.h5 && $G recipe masked.png && $G recipe painted-1.png");
    assert_non_null(strstr(r.out, "base-inpaint.h5")); /* what knows masks is taken where it is */
    assert_non_null(strstr(r.out, "base.h5"));
    cli_refuse("$G inpaint ramp.png -o x.png", "--mask: expected a picture");
    cli_refuse("$G inpaint ramp.png -m mask.png", "--output: expected a file");
    cli_refuse("$G inpaint ramp.png -m mask.png -o ramp.png", "ramp.png is read, too, and would be lost");
    cli_refuse("$G inpaint - -m - -o x.png < ramp.png", "standard input is the picture already");
    cli_refuse("$G inpaint ramp.png -m missing.png -o x.png", "missing.png");
    cli_refuse("$G inpaint ramp.png -m base.h5 -o x.png", "found an HDF5 file");
    cli_refuse("$G inpaint ramp.png -m mask.png -o x.png --repeats 17", "--repeats");
    cli_run_ok(&r, "$G sample cat --init-image ramp.png --strength 0.25 -o from.png --seed 1 " QUICK);
    cli_read_recipe("from.png", "strength", value, sizeof value);
    assert_string_equal(value, "0.25");
    cli_refuse("$G sample cat --strength 0.5 -o x.png", "--strength: expected --init-image");
    cli_refuse("$G sample cat --init-image missing.png -o x.png", "missing.png");
}

/* --- glide sample --show ---------------------------------------------------------------------------- */

/* What a terminal of 80 x 24 gets that answers DA1 with `reply`. */
static char *on_terminal(const char *words, const char *reply)
{
    enum { ROOM = 1 << 24 };
    char command[1024], *got = calloc(1, ROOM);
    size_t used = 0;
    int terminal, how;
    bool answered = false;
    snprintf(command, sizeof command, "cd %s && exec env TERM=xterm-256color LC_ALL=C.UTF-8 COLORTERM=truecolor %s",
             test_folder, words);
    pid_t child = forkpty(&terminal, NULL, NULL, &(struct winsize){.ws_row = 24, .ws_col = 80, .ws_xpixel = 640, .ws_ypixel = 384});
    if (child < 0) { /* a build environment without /dev/pts */
        print_message("no pseudo-terminal: %s\n", strerror(errno));
        free(got);
        skip();
    }
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    for (ssize_t n; used < ROOM - 4096 && (n = read(terminal, got + used, 4095)) > 0; used += (size_t)n) {
        if (answered || !strstr(got, "\033[c")) continue;
        answered = true;
        assert_int_equal(write(terminal, reply, strlen(reply)), strlen(reply));
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    close(terminal);
    return got;
}

static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)) != NULL; text++) n++;
    return n;
}

static void test_show(void **state)
{
    (void)state;
    CliOutcome r;
    cli_run_ok(&r, "$G sample cat --seed 1 -n 2 -o show.png --show --show-steps " QUICK);
    assert_non_null(strstr(r.err, "warning: --show: there is no terminal to draw on\n"));
    assert_null(strchr(r.err, '\033'));
    assert_string_equal(r.out, "show-1.png\nshow-2.png\n");
    cli_run_ok(&r, "$G sample cat --seed 1 -o show.png --show=kitty -q " QUICK);
    assert_string_equal(r.err, "");
    assert_string_equal(r.out, "");
    cli_refuse("$G sample cat --show=vt52 -o x.png", "--show: expected auto, kitty, iterm2, sixel or blocks, found \"vt52\"");

    char *got = on_terminal("$G sample cat --seed 1 -o show.png --show -q " QUICK, "\033[?62;22c");
    assert_int_equal(count_of(got, "\0337"), 1);
    assert_true(count_of(got, "\xe2\x96\x80") > 400 && strstr(got, "\033[38;2;"));
    free(got);
    got = on_terminal("$G sample cat --seed 1 -o show.png --show-steps " QUICK, "\033[?62;4c");
    assert_true(count_of(got, "\033P0;1;0q") >= 3); /* the last step of each stage, and the picture */
    assert_int_equal(count_of(got, "\033P"), count_of(got, "\033\\") - 1); /* one more ends the question */
    assert_non_null(strstr(got, "show.png\r\n"));
    free(got);
    got = on_terminal("$G sample cat --seed 1 -o - --show=iterm2 -q " QUICK " > piped.png", "");
    assert_int_equal(count_of(got, "\033]1337;File=inline=1;"), 1);
    assert_int_equal(count_of(got, "\033[c"), 0); /* nobody was asked */
    free(got);
    cli_check_picture("piped.png", TINY_UPSAMPLER_SIDE);
    got = on_terminal("$G sample cat --grid seed=1,2 -o grid.png --show -q " QUICK, "\033_Gi=31;OK\033\\\033[?62;4c");
    assert_int_equal(count_of(got, "\033_Ga=T,f=100,"), 1);
    free(got);
}

/* --- models without text --- */

/* A tiny model of guided-diffusion's kind: so many classes, no prompts. */
static void write_labelled(const char *name, bool upsampler, int classes)
{
    char path[256];
    TextUNet *like = tiny_model(upsampler, 1);
    TextUNetConfig c = like->config;
    c.text.width = 0;
    c.unet.num_classes = classes;
    text_unet_config_complete(&c);
    TextUNet *m = random_model(&c, 3);
    bpe_free(m->bpe);
    m->bpe = NULL;
    snprintf(path, sizeof path, "%s/%s", test_folder, name);
    write_model(m, path);
    text_unet_free(m);
    text_unet_free(like);
}

static void test_classes(void **state)
{
    (void)state;
    CliOutcome r;
    char value[64];
    write_labelled("classes.h5", false, 5);
    write_labelled("classes-up.h5", true, 5);
    write_labelled("plain.h5", false, 0);
    cli_run_ok(&r, "$G sample --class 4 -w classes.h5 -o four.png --seed 1 --steps 3 -n 2");
    cli_check_picture("four-1.png", TINY_BASE_SIDE); /* no upsampler but the default one, which knows prompts */
    cli_read_recipe("four-1.png", "class", value, sizeof value);
    assert_string_equal(value, "4");
    cli_run_ok(&r, "$G sample --class 3 -w classes.h5 -o three.png --seed 1 --steps 3 -n 2");
    cli_run(&r, "cmp -s four-1.png three-1.png");
    assert_int_equal(r.exit_status, 1);
    cli_run_ok(&r, "$G sample --class 4 -w classes.h5 --upsampler-weights classes-up.h5 -o large.png --seed 1 " QUICK);
    cli_check_picture("large.png", TINY_UPSAMPLER_SIDE);
    cli_run_ok(&r, "$G sample -w plain.h5 -o plain.png --seed 1 --steps 3");
    cli_check_picture("plain.png", TINY_BASE_SIDE);
    cli_run_ok(&r, "$G upsample four-1.png -o four-large.png --upsampler-weights classes-up.h5 --class 4 --seed 1 --steps 2");
    cli_refuse("$G sample -w classes.h5 -o x.png", "--class: the base model wants one from 0 to 4");
    cli_refuse("$G sample --class 5 -w classes.h5 -o x.png", "--class: the base model wants one from 0 to 4");
    cli_refuse("$G sample cat -w classes.h5 -o x.png", "takes no prompts, expected --class, found \"cat\"");
    cli_refuse("$G sample cat --class 1 -o x.png", "--class: the base model takes prompts");
    cli_refuse("$G sample --class 1 -w plain.h5 -o x.png", "--class: the base model takes none");
    cli_refuse("$G sample -w plain.h5 -o x.png -g 3", "--guidance-scale: the base model takes no prompts");
    cli_refuse("$G sample -o x.png", "expected a prompt");
    cli_refuse("$G upsample four-1.png -o x.png --seed 1 --upsampler-weights classes-up.h5", "class: the upsampler wants one");
    cli_refuse("$G upsample four-1.png -o x.png --seed 1 --class 1", "class: the upsampler takes none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_upsample), cmocka_unit_test(test_upsample_many),
                                       cmocka_unit_test(test_upsample_formats),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
                                       cmocka_unit_test(test_upsample_memory),
#endif
                                       cmocka_unit_test(test_inpaint),
                                       cmocka_unit_test(test_show),
                                       cmocka_unit_test(test_classes)};
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
