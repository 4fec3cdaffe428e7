/* glide serve as a program: what it prints, a port in use, its end by a signal, its sudden death. */
#include "glide/recipe.h"
#include "tests/support_cli.h"
#include "tests/support_http.h"
#include "tests/support_status.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* The port that the program says it listens on. */
static int wait_for_port(void)
{
    const struct timespec pause = {0, 20000000};
    int port = 0;
    for (int i = 0; i < 1000 && !port; i++) {
        FILE *f = fopen(in_test_folder("stdout.txt"), "r");
        if (f && fscanf(f, "http://127.0.0.1:%d/\n", &port) != 1) port = 0;
        if (f) fclose(f);
        if (!port) nanosleep(&pause, NULL);
    }
    assert_true(port > 0);
    return port;
}

static void test_life(void **state)
{
    (void)state;
    CliOutcome r, second;
    pid_t child = cli_start("exec $G serve --port 0 --gallery pictures/new --weights base.h5 --upsampler-weights upsampler.h5");
    int port = wait_for_port();
    json_t *job = http_json(port, "POST", "/api/jobs", "{\"steps\":900,\"sampler\":\"ddpm\"}", 201);
    json_decref(job);
    cli_run(&second, "$G serve --port %d --no-gallery", port);
    assert_int_equal(second.exit_status, 2);
    if (!strstr(second.err, "in use") || strchr(second.err, '\n') != second.err + strlen(second.err) - 1)
        fail_msg("\"%s\": expected one line about a port in use", second.err);
    assert_string_equal(second.out, "");
    /* that run's outputs took the place of the first one's, whose descriptors are the same files: it has said its lines already */
    kill(child, SIGTERM);
    cli_finish(child, &r);
    assert_int_equal(r.exit_status, 0);
    assert_true(cli_exists("pictures/new"));
}

/* Every file of the gallery is a whole picture with its recipe, or hidden: the number of each. */
static void check_gallery(int *pictures, int *hidden)
{
    DIR *dir = opendir(in_test_folder("killed"));
    *pictures = *hidden = 0;
    if (!dir) return; /* killed before it was made */
    for (struct dirent *e; (e = readdir(dir));) {
        char path[400];
        Image image = {0};
        GlideRecipe *recipe;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (*e->d_name == '.') {
            ++*hidden;
            continue;
        }
        snprintf(path, sizeof path, "%s/killed/%s", test_folder, e->d_name);
        OK(image_read(path, &image));
        assert_int_equal(image.w, 64);
        image_release(&image);
        OK(recipe_read(path, &recipe));
        assert_string_equal(recipe_find(recipe, "prompt"), "red apple");
        recipe_free(recipe);
        ++*pictures;
    }
    closedir(dir);
}

/* SIGKILL while pictures are written, at moments spread over the writing: what has a name is whole, and the next server
 * sweeps away what has none. */
static void test_killed(void **state)
{
    (void)state;
    static const char command[] = "exec $G serve --port 0 --gallery killed --weights base.h5 --upsampler-weights upsampler.h5";
    int pictures, hidden, before = 0, kills = 8;
    CliOutcome r;
    for (int i = 0; i <= kills; i++) {
        unlink(in_test_folder("stdout.txt"));
        pid_t child = cli_start(command);
        int port = wait_for_port();
        check_gallery(&pictures, &hidden);
        assert_int_equal(hidden, 0);
        assert_true(pictures >= before);
        before = pictures;
        for (int k = 0; k < 4; k++)
            json_decref(http_json(port, "POST", "/api/jobs",
                                  "{\"prompt\":\"red apple\",\"n\":8,\"steps\":2,\"upsampler_steps\":2}", 201));
        for (int wait = 0; wait < 4000 && pictures <= before; wait++) {
            usleep(2500);
            check_gallery(&pictures, &hidden);
        }
        assert_true(pictures > before);
        usleep((unsigned)(1700 * i));
        if (i == kills - 1) write_bytes(in_test_folder("killed/.glide-1-0.tmp"), "half", 4); /* should no kill have left one */
        kill(child, i < kills ? SIGKILL : SIGTERM);
        cli_finish(child, &r);
        assert_int_equal(r.exit_status, i < kills ? 128 + SIGKILL : 0);
    }
    check_gallery(&pictures, &hidden);
    assert_true(pictures > kills);
    assert_int_equal(hidden, 0);
}

static void test_refused(void **state)
{
    (void)state;
    cli_refuse("$G serve --host 0.0.0.0 --port 0 --no-gallery", "--api-key");
    cli_refuse("$G serve --port 70000", "--port");
    cli_refuse("$G serve --port 0 --no-gallery --weights data.h5", "data.h5");
    cli_refuse("$G serve --no-gallery --gallery x", "--no-gallery");
    cli_refuse("$G serve --port 0 --gallery base.h5", "base.h5: expected a folder, found a file");
    cli_refuse("$G serve --port 0 --no-gallery --clip base.h5", "base.h5: weights of kind \"base\", expected \"clip\"");
    cli_refuse("$G serve --port 0 --no-gallery --classifier absent.h5", "absent.h5: No such file");
    cli_refuse("$G serve --port 0 --no-gallery --guide-weights upsampler.h5", "upsampler.h5: expected a weaker version of the model");
    cli_refuse("$G serve something", "something");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life), cmocka_unit_test(test_killed), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, cli_setup, cli_teardown);
}
