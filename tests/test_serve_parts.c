/* Parts of glide serve that need no server: schedules that tell a change on the way, forms, JSON fields, base64, ratings, and
 * whether the table of routes and openapi.json say the same. */
#include "common/base64.h"
#include "glide/serve/serve_compare.h"
#include "glide/serve/serve_gallery.h"
#include "glide/serve/serve_http.h"
#include "glide/serve/serve_json.h"
#include "glide/serve/serve_multipart.h"
#include "glide/serve/serve_term.h"
#include "glide/serve/serve_texts.h"
#include "tests/support_folder.h"
#include "tests/support_status.h"

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* --- schedules --- */
static void check_join(const GuidanceTerm *before, const GuidanceTerm *after, const double *t, int steps, int taken)
{
    GuidanceTerm joined;
    OK(term_join(before, after, t, steps, taken, 1, 999, &joined));
    for (int i = 0; i < steps; i++) {
        double wanted = guidance_term_scale(i < taken ? before : after, 1, t[i], 999),
               found = guidance_term_scale(&joined, 1, t[i], 999);
        if (wanted != found) fail_msg("step %d of %d: scale %.17g, expected %.17g", i, steps, found, wanted);
    }
}

static void test_term_join(void **state)
{
    (void)state;
    double t[300];
    GuidanceTerm three = guidance_term(3), high = guidance_term(9.7), cosine = guidance_term(5.3), inside = guidance_term(4.1),
                 joined;
    OK(guidance_parse_schedule("cosine", &cosine));
    OK(guidance_parse_interval("200:700", &inside));
    for (int i = 0; i < 24; i++) t[i] = 995.3 - 43.21 * i;
    const GuidanceTerm *const all[] = {&three, &high, &cosine, &inside};
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++)
            for (int taken = 0; taken <= 24; taken++) check_join(all[a], all[b], t, 24, taken);
    for (int i = 0; i < 300; i++) t[i] = 998 - 3.3 * i;
    check_join(&three, &inside, t, 300, 117); /* long stretches of one scale are few points */
    FAILS(term_join(&cosine, &three, t, 300, 200, 1, 999, &joined), STATUS_BAD_INPUT, "points");
    OK(guidance_parse_schedule("900:2,500:7.7,100:3.3,0:1", &cosine)); /* points of the rest stay points */
    OK(term_join(&three, &cosine, t, 300, 100, 1, 999, &joined));
    for (int i = 0; i < 300; i++)
        assert_true(fabs(guidance_term_scale(&joined, 1, t[i], 999) -
                         guidance_term_scale(i < 100 ? &three : &cosine, 1, t[i], 999)) < 1e-9);
}

/* --- bodies --- */
static void test_multipart(void **state)
{
    (void)state;
    Multipart m;
    const char *type = "multipart/form-data; boundary=\"a b\"";
    const char *body = "--a b\r\nContent-Disposition: form-data; filename=\"x\"; name=\"image[]\"\r\nContent-Type: "
                       "image/png\r\n\r\nab\r\n--\r\nc\r\n"
                       "--a b\r\ncontent-disposition: form-data; name=prompt\r\n\r\n\r\n--a b--\r\n";
    OK(multipart_parse(type, body, strlen(body), &m));
    assert_int_equal(m.count, 2);
    assert_int_equal(multipart_find(&m, "image")->size, 9);
    assert_memory_equal(multipart_find(&m, "image")->bytes, "ab\r\n--\r\nc", 9);
    assert_int_equal(multipart_find(&m, "prompt")->size, 0);
    assert_null(multipart_find(&m, "mask"));
    for (size_t n = 0; n < strlen(body) - 2; n++) { /* cut anywhere, copied so that sanitizers see the end */
        char *cut = malloc(n + 1);
        memcpy(cut, body, n);
        if (multipart_parse(type, cut, n, &m) == STATUS_OK) assert_true(n >= strlen(body) - 2);
        free(cut);
    }
    FAILS(multipart_parse("text/plain", body, strlen(body), &m), STATUS_BAD_INPUT, "multipart");
    FAILS(multipart_parse("multipart/form-data", body, strlen(body), &m), STATUS_BAD_INPUT, "boundary");
    FAILS(multipart_parse("multipart/form-data; boundary=zz", body, strlen(body), &m), STATUS_BAD_INPUT, "boundary");
}

static void test_base64(void **state)
{
    (void)state;
    unsigned char bytes[40], *back;
    size_t size;
    for (size_t n = 0; n < sizeof bytes; n++) {
        for (size_t i = 0; i < n; i++) bytes[i] = (unsigned char)(i * 67 + n * 31);
        char *text = base64_encode(bytes, n);
        OK(base64_decode(text, &back, &size));
        assert_int_equal(size, n);
        assert_memory_equal(back, bytes, n);
        free(text);
        free(back);
    }
    OK(base64_decode("data:image/png;base64,aGkg\r\nZm9v", &back, &size));
    assert_memory_equal(back, "hi foo", 6);
    free(back);
    FAILS(base64_decode("a*b", &back, &size), STATUS_BAD_INPUT, "base64");
}

static void test_fields(void **state)
{
    (void)state;
    Fields f;
    json_t *json;
    const char *text = "{\"a\":3,\"b\":2.0,\"c\":\"x\",\"d\":null,\"e\":true,\"f\":1}";
    OK(json_parse(text, strlen(text), &json));
    fields_init(&f, json, "");
    assert_int_equal(fields_int(&f, "a", 0, 9, 1), 3);
    assert_int_equal(fields_int(&f, "b", 0, 9, 1), 2);
    assert_string_equal(fields_text(&f, "c", 5, ""), "x");
    assert_int_equal(fields_int(&f, "d", 0, 9, 7), 7);
    assert_true(fields_bool(&f, "e", false));
    FAILS(fields_end(&f, true), STATUS_BAD_INPUT, "f: no such field");
    fields_init(&f, json, "top");
    assert_int_equal(fields_int(&f, "a", 4, 9, 5), 5);
    FAILS(fields_end(&f, false), STATUS_BAD_INPUT, "top.a: expected 4 to 9, found 3");
    json_decref(json);
}

/* --- ratings --- */
static void test_ratings(void **state)
{
    (void)state;
    CompareGame games[400];
    double ratings[3], low[3], high[3];
    int n = 0;
    for (int i = 0; i < 100; i++) games[n++] = (CompareGame){0, 1, i % 4 ? 1 : 0};  /* odds of 3 */
    for (int i = 0; i < 100; i++) games[n++] = (CompareGame){1, 2, i % 4 ? 1 : 0};  /* odds of 3 */
    for (int i = 0; i < 100; i++) games[n++] = (CompareGame){0, 2, i % 10 ? 1 : 0}; /* odds of 9, as the model has it */
    compare_rate(games, n, 3, ratings);
    assert_true(fabs(ratings[0] - ratings[1] - 400 * log10(3)) < 8);
    assert_true(fabs(ratings[1] - ratings[2] - 400 * log10(3)) < 8);
    assert_true(fabs(ratings[0] + ratings[1] + ratings[2] - 4500) < 1e-6);
    compare_intervals(games, n, 3, low, high);
    for (int i = 0; i < 3; i++)
        assert_true(low[i] < ratings[i] && ratings[i] < high[i] && high[i] - low[i] < 160 && high[i] - low[i] > 50);
    for (int i = 0; i < n / 2; i++) { /* the order does not matter */
        CompareGame swap = games[i];
        games[i] = games[n - 1 - i];
        games[n - 1 - i] = swap;
    }
    double again[3];
    compare_rate(games, n, 3, again);
    for (int i = 0; i < 3; i++) assert_true(fabs(again[i] - ratings[i]) < 1e-5);
    games[0] = (CompareGame){0, 1, 1};
    compare_rate(games, 1, 2, ratings); /* who won every game is rated finitely */
    assert_true(isfinite(ratings[0]) && ratings[0] > ratings[1]);
    compare_intervals(games, 1, 2, low, high); /* and one game tells little */
    assert_true(low[0] < ratings[1] && high[0] > ratings[0] + 200);
}

/* --- openapi.json --- */
static void test_openapi(void **state)
{
    (void)state;
    json_error_t error;
    json_t *file = json_loadb((const char *)openapi_json, openapi_json_size, JSON_REJECT_DUPLICATES, &error);
    if (!file) fail_msg("openapi.json, line %d: %s", error.line, error.text);
    json_t *paths = json_object_get(file, "paths"), *methods, *operation;
    const char *path, *method;
    char text[256], name[16];
    int count, described = 0;
    const Route *table = routes(&count);
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s", table[i].method);
        for (char *c = name; *c; c++) *c = (char)tolower((unsigned char)*c);
        if (!json_object_get(json_object_get(paths, table[i].path), name))
            fail_msg("openapi.json lacks %s %s", table[i].method, table[i].path);
    }
    json_object_foreach(paths, path, methods)
    {
        json_object_foreach(methods, method, operation)
        {
            bool found = false;
            for (int i = 0; i < count; i++) found = found || (!strcmp(table[i].path, path) && !strcasecmp(table[i].method, method));
            if (!found) fail_msg("openapi.json has %s %s, which is no route", method, path);
            assert_true(json_is_string(json_object_get(operation, "summary")));
            described++;
        }
    }
    assert_int_equal(described, count);
    /* what it refers to is there */
    const char *at = (const char *)openapi_json, *end = at + openapi_json_size;
    while ((at = memmem(at, (size_t)(end - at), "\"#/components/schemas/", 22))) {
        at += 22;
        snprintf(text, sizeof text, "%.*s", (int)strcspn(at, "\""), at);
        if (!json_object_get(json_object_get(json_object_get(file, "components"), "schemas"), text))
            fail_msg("openapi.json: no schema %s", text);
    }
    json_decref(file);
}

static void test_routes(void **state)
{
    (void)state;
    char params[REQUEST_PARAMS][REQUEST_PARAM_ROOM];
    bool known;
    assert_non_null(route_find("GET", "/api/jobs/12/pictures/3", params, &known));
    assert_string_equal(params[0], "12");
    assert_string_equal(params[1], "3");
    assert_null(route_find("PUT", "/api/jobs/12", params, &known));
    assert_true(known);
    static const char *const none[] = {"/api/jobs/1x",
                                       "/api/jobs/",
                                       "/api/jobs//",
                                       "//",
                                       "/api",
                                       "/api/jobs/1/2",
                                       "/api/gallery/a/b",
                                       "/api/gallery/..",
                                       "/api/gallery/.a",
                                       "/api/gallery/a%2fb",
                                       "",
                                       "/api/jobs/1234567890123456789"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (route_find("GET", none[i], params, &known) || known) fail_msg("%s: found a route", none[i]);
}

/* --- the gallery --- */
enum { SERVERS = 4, KEPT = 8 };

/* What one of several servers keeps in one second, all of the same job's number. */
static void *keep_some(void *server)
{
    char name[GALLERY_NAME];
    Status s = STATUS_OK;
    for (int i = 0; i < KEPT && s == STATUS_OK; i++) s = gallery_keep(test_folder, 1, 0, server, 1, name);
    return s == STATUS_OK ? NULL : server;
}

static void test_gallery_names(void **state)
{
    (void)state;
    pthread_t threads[SERVERS];
    char name[GALLERY_NAME], letters[] = "abcd";
    for (int i = 0; i < SERVERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, keep_some, &letters[i]), 0);
    for (int i = 0; i < SERVERS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(test_folder_count(), SERVERS * KEPT);
    OK(gallery_keep(test_folder, 12, 2, "x", 1, name));
    assert_true(gallery_name(name));
    assert_string_equal(name + 15, "-000012-03.png");
    FAILS(gallery_keep("/nowhere", 1, 0, "x", 1, name), STATUS_IO, "/nowhere/");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_term_join), cmocka_unit_test(test_multipart), cmocka_unit_test(test_base64),
        cmocka_unit_test(test_fields),    cmocka_unit_test(test_ratings),   cmocka_unit_test(test_openapi),
        cmocka_unit_test(test_routes),    cmocka_unit_test(test_gallery_names),
    };
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
