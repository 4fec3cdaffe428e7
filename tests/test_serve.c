/* glide serve's own API: jobs, events, guidance on the way, going on from steps, pictures, recipes, gallery, comparisons. */
#include "common/base64.h"
#include "glide/call.h"
#include "glide/context.h"
#include "glide/serve/serve_json.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_serve.h"
#include "tests/support_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
enum { OTHER_THREADS = 1 }; /* that sanitizer does not see how OpenMP's threads hand over */
#else
enum { OTHER_THREADS = 2 };
#endif

static Server *server;
static int port;

static int setup(void **state)
{
    server = test_serve_setup(state, &port);
    return server ? 0 : -1;
}

static int teardown(void **state)
{
    serve_stop(server);
    return tiny_weights_teardown(state);
}

static void get(const char *path, const char *headers, int status, HttpAnswer *a)
{
    http_ask(port, "GET", path, headers, NULL, 0, a);
    if (a->status != status) fail_msg("%s: status %d, expected %d: %.200s", path, a->status, status, a->body ? a->body : "");
}

static void refuse(const char *method, const char *path, const char *body, int status, const char *part)
{
    json_t *json = http_json(port, method, path, body, status);
    if (!strstr(text_of(json, "error"), part)) fail_msg("%s %s: \"%s\" lacks \"%s\"", method, path, text_of(json, "error"), part);
    assert_int_equal(int_of(json, "status"), status);
    json_decref(json);
}

/* --- what glide sample would write --- */
static void check_picture(int64_t id, const char *prompt, const GlideSampleOptions *o)
{
    Glide *g;
    GlidePicture picture;
    unsigned char *bytes;
    size_t size;
    char path[96];
    HttpAnswer a;
    GlideOptions with = glide_defaults();
    with.threads = OTHER_THREADS; /* the server has one */
    OK((Status)glide_open(&with, &g));
    OK((Status)glide_sample(g, prompt, o, &picture));
    OK((Status)glide_picture_write(&picture, in_test_folder("expected.png")));
    bytes = read_bytes(in_test_folder("expected.png"), &size);
    snprintf(path, sizeof path, "/api/jobs/%lld/pictures/0", (long long)id);
    get(path, NULL, 200, &a);
    assert_int_equal(a.size, size);
    assert_memory_equal(a.body, bytes, size);
    http_release(&a);
    free(bytes);
    glide_picture_release(&picture);
    glide_close(g);
}

static GlideSampleOptions quick(uint64_t seed)
{
    GlideSampleOptions o = glide_sample_defaults();
    o.seed = seed;
    o.steps = "4";
    o.upsampler_steps = "2";
    return o;
}

static void test_same_bytes(void **state)
{
    (void)state;
    int64_t id = job_create(port, "{\"prompt\":\"red apple\",\"seed\":7," QUICK_FIELDS "}");
    json_t *job = job_wait(port, id);
    GlideSampleOptions o = quick(7);
    assert_string_equal(text_of(job, "state"), "done");
    check_picture(id, "red apple", &o);
    json_decref(job);
    id = job_create(
        port, "{\"prompt\":\"red apple\",\"seed\":7,\"image\":3,\"negative_prompt\":\"green\",\"guidance\":{\"cfg\":{\"scale\":5,"
              "\"interval\":\"100:800\",\"schedule\":\"cosine\"},\"rescale\":0.5}," QUICK_FIELDS "}");
    json_decref(job_wait(port, id));
    o.image = 3;
    o.guidance.cfg = (GlideGuidanceTerm){5, "100:800", "cosine"};
    o.guidance.negative_prompt = "green";
    o.upsampler_guidance.negative_prompt = "green";
    o.guidance.rescale = 0.5;
    check_picture(id, "red apple", &o);
}

/* Lines of an event stream, "event: NAME", in order, and the first data line behind `name`. */
static void next_event(const char **at, char *name, size_t size, const char **data)
{
    const char *event = strstr(*at, "event: ");
    *name = 0;
    *data = "";
    if (!event) return;
    snprintf(name, size, "%.*s", (int)strcspn(event + 7, "\n"), event + 7);
    *data = strstr(event, "data: ") + 6;
    *at = *data;
}

static void test_events(void **state)
{
    (void)state;
    char path[96], name[32];
    HttpAnswer a;
    const char *at, *data;
    int64_t id = job_create(port, "{\"prompt\":\"sun\",\"seed\":1,\"n\":2," QUICK_FIELDS "}");
    snprintf(path, sizeof path, "/api/jobs/%lld/events", (long long)id);
    get(path, NULL, 200, &a);
    assert_non_null(strstr(a.headers, "text/event-stream"));
    int base = 0, upsampler = 0, pictures = 0, finished = 0;
    at = a.body;
    for (next_event(&at, name, sizeof name, &data); *name; next_event(&at, name, sizeof name, &data)) {
        assert_false(finished);
        json_t *json = json_loadb(data, strcspn(data, "\n"), 0, NULL);
        assert_true(json_is_object(json));
        if (!strcmp(name, "step") && !strcmp(text_of(json, "stage"), "base")) {
            base++;
            assert_int_equal(int_of(json, "step"), base);
            assert_int_equal(json_array_size(json_object_get(json, "telemetry")), 2);
            assert_int_equal(json_array_size(json_object_get(json, "previews")), 2);
            assert_int_equal(upsampler, 0);
        } else if (!strcmp(name, "step")) {
            upsampler++;
        } else if (!strcmp(name, "picture")) {
            assert_int_equal(int_of(json, "index"), pictures++);
        } else if (!strcmp(name, "done")) {
            finished = 1;
        }
        json_decref(json);
    }
    assert_int_equal(base, 4);
    assert_int_equal(upsampler, 4);
    assert_int_equal(pictures, 2);
    assert_int_equal(finished, 1);
    http_release(&a);
    get(path, "Last-Event-ID: 5\r\n", 200, &a); /* goes on behind it */
    assert_non_null(strstr(a.body, "id: 6\n"));
    assert_null(strstr(a.body, "id: 5\n"));
    http_release(&a);
}

static void test_queue_events(void **state)
{
    (void)state;
    char text[4096];
    int fd = http_begin(port, "GET", "/api/events", NULL, NULL, 0);
    size_t used = 0;
    while (used + 1 < sizeof text && !(used && strstr(text, "event: queue"))) {
        ssize_t n = read(fd, text + used, sizeof text - 1 - used);
        assert_true(n > 0);
        text[used += (size_t)n] = 0;
    }
    close(fd); /* the server finds out by itself */
}

static bool some_steps(const json_t *job)
{
    return int_of(job, "step") >= 20;
}

static void test_cancel(void **state)
{
    (void)state;
    char path[64];
    int64_t running = job_create(port, "{" SLOW_FIELDS "}"), waiting = job_create(port, "{" SLOW_FIELDS "}");
    json_decref(job_until(port, running, some_steps));
    snprintf(path, sizeof path, "/api/jobs/%lld", (long long)waiting);
    json_t *job = http_json(port, "GET", path, NULL, 200);
    assert_int_equal(int_of(job, "position"), 1);
    assert_true(json_number_value(json_object_get(job, "seconds_left")) > 0);
    json_decref(job);
    job = http_json(port, "DELETE", path, NULL, 200);
    assert_string_equal(text_of(job, "state"), "cancelled");
    json_decref(job);
    snprintf(path, sizeof path, "/api/jobs/%lld", (long long)running);
    json_decref(http_json(port, "DELETE", path, NULL, 200));
    job = job_wait(port, running);
    assert_string_equal(text_of(job, "state"), "cancelled");
    assert_true(int_of(job, "step") < 900);
    json_decref(job);
}

static const char *cfg_schedule(const json_t *job)
{
    return text_of(json_object_get(json_object_get(json_object_get(job, "request"), "guidance"), "cfg"), "schedule");
}

/* The picture that came out is the one its recipe's schedule gives from noise. */
static void check_schedule(int64_t id, const char *prompt, const json_t *job, const char *sampler, const char *steps)
{
    GlideSampleOptions o = glide_sample_defaults();
    char schedule[GUIDANCE_MOST_TEXT];
    snprintf(schedule, sizeof schedule, "%s", cfg_schedule(job));
    assert_true(*schedule);
    o.seed = 11;
    o.sampler = sampler;
    o.steps = steps;
    o.upsample = false;
    o.guidance.cfg =
        (GlideGuidanceTerm){json_number_value(json_object_get(
                                json_object_get(json_object_get(json_object_get(job, "request"), "guidance"), "cfg"), "scale")),
                            NULL, schedule};
    check_picture(id, prompt, &o);
}

static void test_change_on_the_way(void **state)
{
    (void)state;
    char path[96];
    int64_t id = job_create(port, "{\"prompt\":\"tree\",\"seed\":11,\"steps\":\"300\",\"sampler\":\"ddim\",\"upsample\":false}");
    json_decref(job_until(port, id, some_steps));
    snprintf(path, sizeof path, "/api/jobs/%lld/guidance", (long long)id);
    json_decref(http_json(port, "POST", path, "{\"cfg\":{\"scale\":9.7}}", 200));
    json_t *job = job_wait(port, id);
    assert_string_equal(text_of(job, "state"), "done");
    assert_non_null(strstr(cfg_schedule(job), ":9.7"));
    assert_non_null(strstr(cfg_schedule(job), ":3"));
    check_schedule(id, "tree", job, "ddim", "300");
    json_decref(job);
    refuse("POST", path, "{\"cfg\":{\"scale\":2}}", 409, "done");
}

static void test_branch(void **state)
{
    (void)state;
    static const char *const samplers[] = {"euler_ancestral", "dpmpp_2m", "ddpm"};
    char path[96], body[200];
    for (int i = 0; i < 3; i++) {
        snprintf(body, sizeof body, "{\"prompt\":\"moon\",\"seed\":11,\"steps\":12,\"sampler\":\"%s\",\"upsample\":false}",
                 samplers[i]);
        int64_t id = job_create(port, body);
        json_decref(job_wait(port, id));
        snprintf(path, sizeof path, "/api/jobs/%lld/branch", (long long)id);
        json_t *child = http_json(port, "POST", path, "{\"step\":5,\"cfg\":{\"scale\":-2.3,\"schedule\":\"linear\"}}", 201);
        int64_t next = int_of(child, "id");
        assert_int_equal(int_of(child, "parent"), id);
        json_decref(child);
        child = job_wait(port, next);
        assert_string_equal(text_of(child, "state"), "done");
        check_schedule(next, "moon", child, samplers[i], "12");
        json_decref(child);
        refuse("POST", path, "{\"step\":40,\"cfg\":{\"scale\":2}}", 409, "step");
    }
    int64_t id = job_create(port, "{\"steps\":4,\"sampler\":\"heun\",\"upsample\":false}");
    json_decref(job_wait(port, id));
    snprintf(path, sizeof path, "/api/jobs/%lld/branch", (long long)id);
    refuse("POST", path, "{\"step\":2,\"cfg\":{\"scale\":2}}", 409, "levels ahead");
    refuse("POST", path, "{\"step\":2}", 400, "cfg");
}

static void test_steps_and_pictures(void **state)
{
    (void)state;
    char path[96];
    HttpAnswer a;
    int64_t id = job_create(port, "{\"seed\":2," QUICK_FIELDS "}");
    json_decref(job_wait(port, id));
    for (int step = 1; step <= 4; step++) {
        snprintf(path, sizeof path, "/api/jobs/%lld/steps/%d", (long long)id, step);
        get(path, NULL, 200, &a);
        assert_memory_equal(a.body, "\x89PNG", 4);
        http_release(&a);
    }
    snprintf(path, sizeof path, "/api/jobs/%lld/steps/5", (long long)id);
    refuse("GET", path, NULL, 404, "nothing is kept");
    snprintf(path, sizeof path, "/api/jobs/%lld/pictures/1", (long long)id);
    refuse("GET", path, NULL, 404, "none");
    refuse("GET", "/api/jobs/999999", NULL, 404, "no such job");
    refuse("DELETE", "/api/jobs/999999", NULL, 404, "no such job");
    refuse("GET", "/api/jobs/999999/events", NULL, 404, "no such job");
    refuse("GET", "/api/jobs/x", NULL, 404, "no such thing");
}

/* --- pictures that are sent --- */
static char *base64_of(const char *name)
{
    size_t size;
    unsigned char *bytes = read_bytes(in_test_folder(name), &size);
    char *text = base64_encode(bytes, size);
    free(bytes);
    return text;
}

static void write_picture(const char *name, int w, int h, int white_from)
{
    GlidePicture p = {.width = w, .height = h, .rgb = calloc((size_t)(w * h), 3)};
    for (int i = 0; i < w * h; i++) memset(p.rgb + 3 * i, i % w >= white_from ? 255 : 40, 3);
    OK((Status)glide_picture_write(&p, in_test_folder(name)));
    glide_picture_release(&p);
}

static json_t *job_with(const char *fields, const char *picture, const char *mask)
{
    size_t room = strlen(fields) + strlen(picture) + (mask ? strlen(mask) : 0) + 100;
    char *body = malloc(room);
    snprintf(body, room, "{%s,\"picture\":\"%s\"%s%s%s}", fields, picture, mask ? ",\"mask\":\"" : "", mask ? mask : "",
             mask ? "\"" : "");
    json_t *job = job_wait(port, job_create(port, body));
    free(body);
    if (strcmp(text_of(job, "state"), "done") != 0) fail_msg("%s: %s", fields, text_of(job, "error"));
    return job;
}

/* While it forms it is shown as large as it becomes, without padding, down to half where a side is over 512 pixels. */
static void check_forming(int64_t id, int w, int h)
{
    char path[96];
    HttpAnswer a;
    snprintf(path, sizeof path, "/api/jobs/%lld/events", (long long)id);
    get(path, NULL, 200, &a);
    const char *preview = strstr(a.body, "\"previews\":[\"");
    assert_non_null(preview);
    preview += 13;
    char *text = strndup(preview, strcspn(preview, "\""));
    check_base64_picture(text, w, h);
    free(text);
    http_release(&a);
}

/* Any size: the file is the one that the library makes, and its recipe asks for the same again. */
static void check_enlarged(const char *photo)
{
    static const struct {
        const char *fields;
        int scale, width, height, wide, high, form_wide, form_high;
    } cases[] = {{"", 4, 0, 0, 160, 120, 160, 120},
                 {",\"scale\":2", 2, 0, 0, 80, 60, 160, 120},
                 {",\"width\":100,\"height\":50", 4, 100, 50, 100, 50, 160, 120}};
    char fields[200], path[96];
    Glide *g;
    GlidePicture in = {0}, expected;
    OK((Status)glide_open(NULL, &g));
    OK((Status)glide_picture_read(in_test_folder("photo.png"), &in));
    for (int i = 0; i < 3; i++) {
        snprintf(fields, sizeof fields, "\"kind\":\"upsample\",\"seed\":5,\"prompt\":\"x\",\"upsampler_steps\":2%s",
                cases[i].fields);
        json_t *job = job_with(fields, photo, NULL);
        const json_t *picture = json_array_get(json_object_get(job, "pictures"), 0);
        assert_int_equal(int_of(picture, "width"), cases[i].wide);
        assert_int_equal(int_of(picture, "height"), cases[i].high);
        check_forming(int_of(job, "id"), cases[i].form_wide, cases[i].form_high);
        GlideUpsampleOptions o = glide_upsample_defaults();
        o.seed = 5;
        o.prompt = "x";
        o.steps = "2";
        o.scale = cases[i].scale;
        o.width = cases[i].width;
        o.height = cases[i].height;
        OK((Status)glide_upsample(g, &in, &o, &expected));
        OK((Status)glide_picture_write(&expected, in_test_folder("expected.png")));
        size_t n;
        unsigned char *bytes = read_bytes(in_test_folder("expected.png"), &n);
        snprintf(path, sizeof path, "/api/gallery/%s", text_of(picture, "name"));
        HttpAnswer a;
        http_ask(port, "GET", path, NULL, NULL, 0, &a);
        assert_int_equal(a.size, n);
        assert_memory_equal(a.body, bytes, n);
        http_release(&a);
        strcat(path, "/recipe");
        json_t *recipe = http_json(port, "GET", path, NULL, 200), *request = json_object_get(recipe, "request");
        assert_int_equal(int_of(request, "scale"), cases[i].scale);
        assert_int_equal(int_of(request, "width"), cases[i].width);
        json_decref(recipe);
        free(bytes);
        glide_picture_release(&expected);
        json_decref(job);
    }
    glide_picture_release(&in);
    glide_close(g);
    static const char *const bad[][2] = {{"\"scale\":3", "scale: expected 2, 4 or 8"}, {"\"width\":9", "both or none"},
                                         {"\"width\":9000,\"height\":9", "more than 8 times"}, {"\"fidelity\":2", "fidelity"}};
    for (int i = 0; i < 4; i++) {
        size_t room = strlen(photo) + 200;
        char *body = malloc(room);
        snprintf(body, room, "{\"kind\":\"upsample\",%s,\"picture\":\"%s\"}", bad[i][0], photo);
        refuse("POST", "/api/jobs", body, 400, bad[i][1]);
        free(body);
    }
}

static void test_sent_pictures(void **state)
{
    (void)state;
    write_picture("photo.png", 40, 30, 41);
    write_picture("mask.png", 20, 15, 10);
    char *photo = base64_of("photo.png"), *mask = base64_of("mask.png");
    json_t *job = job_with("\"kind\":\"upsample\",\"scale\":0,\"upsampler_steps\":2", photo, NULL);
    assert_int_equal(int_of(json_array_get(json_object_get(job, "pictures"), 0), "width"), TINY_UPSAMPLER_SIDE);
    json_decref(job);
    check_enlarged(photo);
    write_picture("wide.png", 150, 20, 50);
    char *wide = base64_of("wide.png");
    job = job_with("\"kind\":\"upsample\",\"scale\":4,\"upsampler_steps\":2", wide, NULL);
    check_forming(int_of(job, "id"), 300, 40);
    json_decref(job);
    free(wide);
    job = job_with("\"strength\":0.5," QUICK_FIELDS, photo, NULL);
    json_decref(job);
    job = job_with("\"kind\":\"inpaint\",\"steps\":3,\"repeats\":1,\"upsampler_steps\":2", photo, mask);
    assert_int_equal(int_of(json_array_get(json_object_get(job, "pictures"), 0), "width"), 40);
    json_decref(job);
    free(photo);
    free(mask);
    refuse("POST", "/api/jobs", "{\"kind\":\"upsample\",\"picture\":\"aGVsbG8=\"}", 400, "picture");
    refuse("POST", "/api/jobs", "{\"kind\":\"upsample\",\"picture\":\"???\"}", 400, "base64");
    refuse("POST", "/api/jobs", "{\"kind\":\"upsample\"}", 400, "picture");
    refuse("POST", "/api/jobs", "{\"mask\":\"aGVsbG8=\"}", 400, "mask");
}

static void test_refused_requests(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"", "JSON"},
                                         {"{", "JSON"},
                                         {"[]", "object"},
                                         {"{\"promt\":\"x\"}", "promt"},
                                         {"{\"prompt\":5}", "prompt"},
                                         {"{\"n\":0}", "n:"},
                                         {"{\"n\":17}", "n:"},
                                         {"{\"n\":1.5}", "whole"},
                                         {"{\"seed\":-1}", "seed"},
                                         {"{\"steps\":1}", "steps"},
                                         {"{\"steps\":\"x\"}", "steps"},
                                         {"{\"steps\":1001}", "steps"},
                                         {"{\"sampler\":\"nope\"}", "sampler"},
                                         {"{\"sampler\":\"ddim_reverse\"}", "sampler"},
                                         {"{\"upsampler_sampler\":\"nope\"}", "upsampler_sampler"},
                                         {"{\"guidance\":{\"cfg\":{\"scale\":1000}}}", "guidance.cfg.scale"},
                                         {"{\"guidance\":{\"cfg\":{\"interval\":\"9\"}}}", "interval"},
                                         {"{\"guidance\":{\"cfg\":{\"schedule\":\"wavy\"}}}", "expected"},
                                         {"{\"guidance\":{\"clip\":{\"scale\":2}}}", "clip"},
                                         {"{\"guidance\":{\"rescale\":2}}", "rescale"},
                                         {"{\"guidance\":3}", "guidance"},
                                         {"{\"guidance\":{\"threshold\":\"maybe\"}}", "threshold"},
                                         {"{\"class\":3}", "class"},
                                         {"{\"strength\":2}", "strength"},
                                         {"{\"kind\":\"dance\"}", "kind"},
                                         {"{\"seed\":1,\"seed\":2}", "duplicate"},
                                         {"{\"guidance\":{\"cfg\":{\"scale\":\"3\"}}}", "number"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) refuse("POST", "/api/jobs", bad[i][0], 400, bad[i][1]);
}

/* --- what there is --- */
static void test_tables(void **state)
{
    (void)state;
    HttpAnswer a;
    json_t *json = http_json(port, "GET", "/api/models", NULL, 200);
    assert_int_equal(int_of(json_object_get(json, "base"), "side"), TINY_BASE_SIDE);
    json_decref(json);
    json = http_json(port, "GET", "/api/samplers", NULL, 200);
    assert_true(json_array_size(json) >= 10);
    json_decref(json);
    json = http_json(port, "GET", "/api/guidance", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(json, "modes")), 4);
    json_decref(json);
    json = http_json(port, "GET", "/api/timesteps?steps=8", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(json, "timesteps")), 8);
    json_decref(json);
    refuse("GET", "/api/timesteps?steps=frog", NULL, 400, "frog");
    json_decref(http_json(port, "GET", "/api/server", NULL, 200));
    json_decref(http_json(port, "GET", "/api/jobs", NULL, 200));
    get("/", NULL, 200, &a);
    assert_non_null(strstr(a.headers, "Content-Security-Policy"));
    assert_non_null(strstr(a.body, "<title>glide</title>"));
    assert_null(strstr(a.body, "http://") == NULL ? NULL : strstr(a.body, "src=\"http")); /* nothing from other hosts */
    assert_null(strstr(a.body, "href=\"http"));
    http_release(&a);
}

/* --- recipes, gallery, comparisons --- */
/* The gallery's list is sorted, and has the picture in it. */
static void check_listed(const char *name)
{
    json_t *list = http_json(port, "GET", "/api/gallery?limit=500", NULL, 200);
    bool found = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *here = text_of(json_array_get(list, i), "name");
        found = found || !strcmp(here, name);
        if (i > 0) assert_true(strcmp(text_of(json_array_get(list, i - 1), "name"), here) > 0);
    }
    assert_true(found);
    json_decref(list);
}

static void test_gallery(void **state)
{
    (void)state;
    char path[160], name[80];
    HttpAnswer png, again;
    json_t *made = job_wait(port, job_create(port, "{\"prompt\":\"빨간 사과\",\"seed\":21," QUICK_FIELDS "}"));
    snprintf(name, sizeof name, "%s", text_of(json_array_get(json_object_get(made, "pictures"), 0), "name"));
    json_decref(made);
    check_listed(name);
    snprintf(path, sizeof path, "/api/gallery/%s", name);
    get(path, NULL, 200, &png);
    snprintf(path + strlen(path), 16, "/recipe");
    json_t *recipe = http_json(port, "GET", path, NULL, 200), *request = json_object_get(recipe, "request");
    assert_string_equal(text_of(request, "prompt"), "빨간 사과");
    assert_int_equal(int_of(request, "seed"), 21);
    http_ask(port, "POST", "/api/recipes", "Content-Type: image/png\r\n", png.body, png.size, &again); /* dropped on the page */
    json_t *dropped = json_loadb(again.body, again.size, 0, NULL);
    assert_true(json_equal(json_object_get(dropped, "request"), request));
    http_release(&again);
    char *text = json_dumps(request, 0);
    json_t *job = job_wait(port, job_create(port, text)); /* what a recipe asks for gives its picture */
    free(text);
    snprintf(path, sizeof path, "/api/jobs/%lld/pictures/0", (long long)int_of(job, "id"));
    get(path, NULL, 200, &again);
    assert_int_equal(again.size, png.size);
    assert_memory_equal(again.body, png.body, png.size);
    http_release(&again);
    http_release(&png);
    snprintf(path, sizeof path, "/api/gallery/%s", name);
    json_decref(http_json(port, "DELETE", path, NULL, 200));
    refuse("GET", path, NULL, 404, "no such picture");
    refuse("DELETE", path, NULL, 404, "no such picture");
    refuse("GET", "/api/gallery/comparisons.json", NULL, 404, "no such picture");
    refuse("GET", "/api/gallery/..%2f..%2fetc%2fpasswd", NULL, 404, "");
    refuse("GET", "/api/gallery/.hidden.png", NULL, 404, "");
    refuse("POST", "/api/recipes", "no picture", 400, "PNG");
    json_decref(job);
    json_decref(dropped);
    json_decref(recipe);
}

static void test_comparisons(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++) {
        const char *winner = i % 4 == 0 ? "{\"a\":\"scale 2\",\"b\":\"scale 5\",\"winner\":\"a\"}"
                                        : "{\"a\":\"scale 2\",\"b\":\"scale 5\",\"winner\":\"b\"}";
        json_decref(http_json(port, "POST", "/api/comparisons", winner, 201));
    }
    json_t *table = http_json(port, "GET", "/api/comparisons", NULL, 200);
    const json_t *two = json_array_get(json_object_get(table, "ratings"), 0),
                 *five = json_array_get(json_object_get(table, "ratings"), 1);
    assert_int_equal(int_of(table, "games"), 12);
    assert_string_equal(text_of(two, "setting"), "scale 2");
    assert_int_equal(int_of(two, "wins"), 3);
    double better = json_number_value(json_object_get(five, "rating")) - json_number_value(json_object_get(two, "rating"));
    assert_true(better > 100 && better < 250); /* odds of 3 are 191 points */
    json_decref(table);
    refuse("POST", "/api/comparisons", "{\"a\":\"x\",\"b\":\"x\",\"winner\":\"a\"}", 400, "two settings");
    refuse("POST", "/api/comparisons", "{\"a\":\"x\",\"b\":\"y\",\"winner\":\"c\"}", 400, "winner");
    assert_int_equal(access(in_test_folder("gallery/comparisons.json"), R_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_queue_events),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_change_on_the_way),
        cmocka_unit_test(test_branch),
        cmocka_unit_test(test_steps_and_pictures),
        cmocka_unit_test(test_sent_pictures),
        cmocka_unit_test(test_refused_requests),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_gallery),
        cmocka_unit_test(test_comparisons),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
