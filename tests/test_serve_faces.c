/* glide serve as existing clients see it: OpenAI's images API and A1111's. */
#include "common/base64.h"
#include "glide/serve/serve_json.h"
#include "glide/serve/serve_request.h"
#include "tests/support_folder.h"
#include "tests/support_models.h"
#include "tests/support_serve.h"
#include "tests/support_status.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* A PNG of w x h as bytes, white from a column on. */
static unsigned char *make_picture(int w, int h, int white_from, size_t *size)
{
    GlidePicture p = {.width = w, .height = h, .rgb = malloc((size_t)(w * h) * 3)};
    for (int i = 0; i < w * h; i++) memset(p.rgb + 3 * i, i % w >= white_from ? 255 : 40, 3);
    OK((Status)glide_picture_write(&p, in_test_folder("sent.png")));
    glide_picture_release(&p);
    return read_bytes(in_test_folder("sent.png"), size);
}

/* --- OpenAI --- */

static void openai_fails(const char *method, const char *path, const char *body, int status, const char *param, const char *part)
{
    json_t *json = http_json(port, method, path, body, status), *error = json_object_get(json, "error");
    if (!strstr(text_of(error, "message"), part) || strcmp(text_of(error, "param"), param) != 0)
        fail_msg("%s: message \"%s\", param \"%s\"; expected \"%s\", \"%s\"", body, text_of(error, "message"),
                 text_of(error, "param"), part, param);
    assert_true(*text_of(error, "type"));
    json_decref(json);
}

static void test_openai_generations(void **state)
{
    (void)state;
    json_t *json = http_json(port, "POST", "/v1/images/generations",
                             "{\"model\":\"dall-e-2\",\"prompt\":\"red apple\",\"n\":2,\"size\":"
                             "\"64x64\",\"seed\":3,\"steps\":4,\"quality\":\"hd\",\"user\":\"u\",\"response_format\":\"b64_json\"}",
                             200);
    const json_t *data = json_object_get(json, "data");
    assert_int_equal(json_array_size(data), 2);
    check_base64_picture(text_of(json_array_get(data, 0), "b64_json"), TINY_UPSAMPLER_SIDE, TINY_UPSAMPLER_SIDE);
    assert_true(int_of(json, "created") > 1600000000);
    json_decref(json);
    json = http_json(port, "POST", "/v1/images/generations", "{\"prompt\":\"red apple\",\"size\":\"16x16\",\"steps\":\"logsnr4\"}",
                     200);
    check_base64_picture(text_of(json_array_get(json_object_get(json, "data"), 0), "b64_json"), TINY_BASE_SIDE, TINY_BASE_SIDE);
    json_decref(json);
    json = http_json(port, "POST", "/v1/images/generations", "{\"prompt\":\"x\",\"steps\":3,\"response_format\":\"url\"}", 200);
    const char *url = text_of(json_array_get(json_object_get(json, "data"), 0), "url");
    HttpAnswer a;
    assert_non_null(strstr(url, "/api/jobs/"));
    http_ask(port, "GET", strstr(url, "/api/"), NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    http_release(&a);
    json_decref(json);
}

static void test_openai_refusals(void **state)
{
    (void)state;
    const char *path = "/v1/images/generations";
    openai_fails("POST", path, "{\"prompt\":\"x\",\"size\":\"1024x1024\"}", 400, "size", "64x64");
    openai_fails("POST", path, "{\"prompt\":\"x\",\"size\":\"big\"}", 400, "size", "WIDTHxHEIGHT");
    openai_fails("POST", path, "{\"prompt\":\"\"}", 400, "prompt", "description");
    openai_fails("POST", path, "{\"n\":1}", 400, "prompt", "description");
    openai_fails("POST", path, "{\"prompt\":\"x\",\"n\":0}", 400, "n", "expected");
    openai_fails("POST", path, "{\"prompt\":\"x\",\"n\":200}", 400, "n", "expected");
    openai_fails("POST", path, "{\"prompt\":\"x\",\"response_format\":\"gif\"}", 400, "response_format", "b64_json");
    openai_fails("POST", path, "{\"prompt\":\"x\",\"output_format\":\"webp\"}", 400, "output_format", "png");
    openai_fails("POST", path, "{\"prompt\":\"x\",\"stream\":true}", 400, "stream", "false");
    openai_fails("POST", path, "{\"prompt\":\"x\",\"sampler\":\"nope\"}", 400, "sampler", "nope");
    openai_fails("POST", path, "nonsense", 400, "", "JSON");
    openai_fails("GET", "/v1/models/gpt-4", NULL, 404, "", "does not exist");
    openai_fails("GET", "/v1/nothing", NULL, 404, "", "no such thing");
    openai_fails("GET", path, NULL, 405, "", "GET");
    json_t *json = http_json(port, "GET", "/v1/models", NULL, 200);
    assert_string_equal(text_of(json_array_get(json_object_get(json, "data"), 0), "id"), "glide");
    json_decref(json);
    json = http_json(port, "GET", "/v1/models/glide", NULL, 200);
    assert_string_equal(text_of(json, "object"), "model");
    json_decref(json);
}

/* A form body; parts end with a part whose name is NULL. */
typedef struct Part {
    const char *name, *text;
    const unsigned char *bytes;
    size_t size;
} Part;

static void post_form(const char *path, const Part *parts, HttpAnswer *out)
{
    size_t room = 4096, used = 0;
    for (const Part *p = parts; p->name; p++) room += 256 + p->size + (p->text ? strlen(p->text) : 0);
    char *body = malloc(room);
    for (const Part *p = parts; p->name; p++) {
        used += (size_t)snprintf(body + used, room - used, "--bound\r\nContent-Disposition: form-data; name=\"%s\"%s\r\n\r\n",
                                 p->name, p->bytes ? "; filename=\"name.png\"\r\nContent-Type: image/png" : "");
        size_t n = p->bytes ? p->size : strlen(p->text);
        memcpy(body + used, p->bytes ? (const void *)p->bytes : p->text, n);
        used += n;
        used += (size_t)snprintf(body + used, room - used, "\r\n");
    }
    used += (size_t)snprintf(body + used, room - used, "--bound--\r\n");
    http_ask(port, "POST", path, "Content-Type: multipart/form-data; boundary=bound\r\n", body, used, out);
    free(body);
}

/* A PNG of 24x24 whose right half is transparent. */
static unsigned char *transparent_mask(size_t *size)
{
    static unsigned char rgba[24 * 24 * 4];
    png_image image = {.version = PNG_IMAGE_VERSION, .width = 24, .height = 24, .format = PNG_FORMAT_RGBA};
    png_alloc_size_t bytes = sizeof rgba + 4096;
    unsigned char *out = malloc(bytes);
    for (int i = 0; i < 24 * 24; i++) rgba[4 * i + 3] = i % 24 < 12 ? 255 : 0;
    assert_true(png_image_write_to_memory(&image, out, &bytes, 0, rgba, 0, NULL));
    *size = bytes;
    return out;
}

static void check_edit(const Part *parts, int status, int w, int h, const char *part)
{
    HttpAnswer a;
    post_form("/v1/images/edits", parts, &a);
    if (a.status != status) fail_msg("status %d, expected %d: %.300s", a.status, status, a.body);
    json_t *json = json_loadb(a.body, a.size, 0, NULL);
    if (status == 200)
        check_base64_picture(text_of(json_array_get(json_object_get(json, "data"), 0), "b64_json"), w, h);
    else if (!strstr(text_of(json_object_get(json, "error"), "message"), part))
        fail_msg("\"%.200s\" lacks \"%s\"", a.body, part);
    json_decref(json);
    http_release(&a);
}

static void test_openai_edits(void **state)
{
    (void)state;
    size_t size, mask_size;
    unsigned char *picture = make_picture(24, 24, 30, &size), *mask = transparent_mask(&mask_size);
    check_edit((Part[]){{"image", NULL, picture, size},
                        {"mask", NULL, mask, mask_size},
                        {"prompt", "sun", NULL, 0},
                        {"steps", "3", NULL, 0},
                        {"model", "dall-e-2", NULL, 0},
                        {"n", "1", NULL, 0},
                        {0}},
               200, 24, 24, "");
    check_edit(
        (Part[]){
            {"image[]", NULL, picture, size}, {"prompt", "sun", NULL, 0}, {"steps", "4", NULL, 0}, {"size", "16x16", NULL, 0}, {0}},
        200, TINY_BASE_SIDE, TINY_BASE_SIDE, "");
    check_edit((Part[]){{"image", NULL, mask, mask_size}, {"prompt", "sun", NULL, 0}, {"steps", "3", NULL, 0}, {0}}, 200, 24, 24,
               "");
    check_edit((Part[]){{"image", NULL, picture, size}, {"mask", NULL, picture, size}, {"prompt", "sun", NULL, 0}, {0}}, 400, 0, 0,
               "mask");
    check_edit((Part[]){{"prompt", "sun", NULL, 0}, {0}}, 400, 0, 0, "image");
    check_edit((Part[]){{"image", "no picture", NULL, 0}, {"prompt", "sun", NULL, 0}, {0}}, 400, 0, 0, "image");
    check_edit((Part[]){{"image", NULL, picture, size}, {0}}, 400, 0, 0, "prompt");
    check_edit((Part[]){{"image", NULL, picture, size}, {"prompt", "x", NULL, 0}, {"n", "frog", NULL, 0}, {0}}, 400, 0, 0, "n:");
    check_edit((Part[]){{"image", NULL, picture, size}, {"prompt", "\xff", NULL, 0}, {0}}, 400, 0, 0, "prompt: expected a text");
    char longer[JOB_MOST_PROMPT + 2] = "";
    memset(longer, 'x', sizeof longer - 1);
    check_edit((Part[]){{"image", NULL, picture, size}, {"prompt", longer, NULL, 0}, {0}}, 400, 0, 0, "expected at most 4096 bytes");
    check_edit((Part[]){{"image", NULL, picture, size},
                        {"mask", NULL, mask, mask_size},
                        {"prompt", "x", NULL, 0},
                        {"size", "512x512", NULL, 0},
                        {0}},
               400, 0, 0, "size");
    free(picture);
    free(mask);
    openai_fails("POST", "/v1/images/edits", "{\"prompt\":\"x\"}", 400, "", "multipart");
}

/* Where the default model that knows masks is, it paints. */
static void test_painter(void **state)
{
    (void)state;
    char base[256], painter[256], name[] = "base-inpaint.h5";
    ServeOptions o = test_serve_options();
    size_t size, n;
    unsigned char *mask = transparent_mask(&size), *png;
    HttpAnswer a;
    snprintf(base, sizeof base, "%s", in_test_folder("base.h5"));
    snprintf(painter, sizeof painter, "%s", in_test_folder(name));
    assert_int_equal(symlink(base, painter), 0);
    serve_stop(server);
    server = test_serve_start(&o);
    port = serve_port(server);
    post_form("/v1/images/edits", (Part[]){{"image", NULL, mask, size}, {"prompt", "sun", NULL, 0}, {"steps", "3", NULL, 0}, {0}}, &a);
    assert_int_equal(a.status, 200);
    json_t *json = json_loadb(a.body, a.size, 0, NULL);
    const char *text = text_of(json_array_get(json_object_get(json, "data"), 0), "b64_json");
    OK(base64_decode(text, &png, &n));
    assert_non_null(memmem(png, n, name, strlen(name))); /* in its recipe */
    json_decref(json);
    http_release(&a);
    free(png);
    free(mask);
    assert_int_equal(unlink(painter), 0);
}

/* --- A1111 --- */

static char *with_picture(const char *format, const char *picture, const char *mask)
{
    char *body = NULL;
    assert_true(asprintf(&body, format, picture, mask) > 0);
    return body;
}

static char *base64_picture(int w, int h, int white_from)
{
    size_t size;
    unsigned char *bytes = make_picture(w, h, white_from, &size);
    char *text = base64_encode(bytes, size);
    free(bytes);
    return text;
}

static void test_txt2img(void **state)
{
    (void)state;
    json_t *json =
        http_json(port, "POST", "/sdapi/v1/txt2img",
                  "{\"prompt\":\"cat\",\"negative_prompt\":\"dog\",\"seed\":5,\"batch_size\":2,"
                  "\"n_iter\":1,\"steps\":4,\"cfg_scale\":6,\"width\":512,\"height\":512,\"sampler_name\":\"DPM++ 2M Karras\","
                  "\"override_settings\":{},\"alwayson_scripts\":{},\"enable_hr\":false}",
                  200);
    const json_t *images = json_object_get(json, "images");
    assert_int_equal(json_array_size(images), 2);
    check_base64_picture(json_string_value(json_array_get(images, 0)), TINY_UPSAMPLER_SIDE, TINY_UPSAMPLER_SIDE);
    json_t *info = json_loads(text_of(json, "info"), 0, NULL);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(info, "all_seeds"), 1)), 6);
    assert_string_equal(text_of(info, "sampler_name"), "DPM++ 2M");
    assert_string_equal(text_of(info, "steps"), "karras4");
    assert_non_null(strstr(json_string_value(json_array_get(json_object_get(info, "infotexts"), 0)), "Seed: 5"));
    /* the second is that of seed 6 alone */
    json_t *second = http_json(port, "POST", "/sdapi/v1/txt2img",
                               "{\"prompt\":\"cat\",\"negative_prompt\":\"dog\",\"seed\":6,\"steps\":4,"
                               "\"cfg_scale\":6,\"sampler_name\":\"DPM++ 2M\",\"scheduler\":\"Karras\"}",
                               200);
    assert_string_equal(json_string_value(json_array_get(images, 1)),
                        json_string_value(json_array_get(json_object_get(second, "images"), 0)));
    json_decref(second);
    json_decref(info);
    json_decref(json);
}

static void test_img2img(void **state)
{
    (void)state;
    char *picture = base64_picture(30, 20, 40), *mask = base64_picture(30, 20, 15);
    char *body = with_picture(
        "{\"init_images\":[\"data:image/png;base64,%s\"],\"denoising_strength\":0.5,\"steps\":6,\"prompt\":\"x\"}", picture, "");
    json_t *json = http_json(port, "POST", "/sdapi/v1/img2img", body, 200);
    check_base64_picture(json_string_value(json_array_get(json_object_get(json, "images"), 0)), TINY_UPSAMPLER_SIDE, TINY_UPSAMPLER_SIDE);
    assert_null(json_object_get(json_object_get(json, "parameters"), "init_images"));
    json_decref(json);
    free(body);
    body = with_picture(
        "{\"init_images\":[\"%s\"],\"mask\":\"%s\",\"inpainting_mask_invert\":1,\"steps\":3,\"sampler_name\":\"DDIM\"}", picture,
        mask);
    json = http_json(port, "POST", "/sdapi/v1/img2img", body, 200);
    check_base64_picture(json_string_value(json_array_get(json_object_get(json, "images"), 0)), 30, 20);
    json_decref(json);
    free(body);
    free(picture);
    free(mask);
}

/* A picture of 30 x 20 pixels: so many times as large, or to a size, cut to its shape or covering it. */
static void test_extra(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        int w, h;
    } cases[] = {{"\"upscaling_resize\":4", 120, 80},
                 {"\"upscaler_1\":\"glide\"", 60, 40},
                 {"\"resize_mode\":0,\"upscaling_resize\":2.5", 75, 50},
                 {"\"upscaling_resize\":1", 30, 20},
                 {"\"resize_mode\":1,\"upscaling_resize_w\":90,\"upscaling_resize_h\":90", 90, 90},
                 {"\"resize_mode\":1,\"upscaling_resize_w\":90,\"upscaling_resize_h\":90,\"upscaling_crop\":false", 135, 90}};
    static const char *const bad[][2] = {{"\"upscaling_resize\":9", "upscaling_resize"}, {"\"upscaling_resize\":\"x\"",
            "upscaling_resize"},
                                         {"\"resize_mode\":1,\"upscaling_resize_w\":4000,\"upscaling_resize_h\":10", "more than "
                                                 "8 times"}};
    char *picture = base64_picture(30, 20, 40), format[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(format, sizeof format, "{\"image\":\"%%s\",%s}", cases[i].fields);
        char *body = with_picture(format, picture, "");
        json_t *json = http_json(port, "POST", "/sdapi/v1/extra-single-image", body, 200);
        check_base64_picture(text_of(json, "image"), cases[i].w, cases[i].h);
        json_decref(json);
        free(body);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(format, sizeof format, "{\"image\":\"%%s\",%s}", bad[i][0]);
        char *body = with_picture(format, picture, "");
        json_t *json = http_json(port, "POST", "/sdapi/v1/extra-single-image", body, 422);
        assert_non_null(strstr(text_of(json, "detail"), bad[i][1]));
        json_decref(json);
        free(body);
    }
    free(picture);
}

static void a1111_fails(const char *path, const char *body, int status, const char *part)
{
    json_t *json = http_json(port, "POST", path, body, status);
    if (!strstr(text_of(json, "detail"), part)) fail_msg("%s: \"%s\" lacks \"%s\"", body, text_of(json, "detail"), part);
    json_decref(json);
}

static void test_a1111_refusals(void **state)
{
    (void)state;
    a1111_fails("/sdapi/v1/txt2img", "{\"sampler_name\":\"UniPC\"}", 404, "Sampler not found");
    a1111_fails("/sdapi/v1/txt2img", "{\"steps\":\"many\"}", 422, "steps");
    a1111_fails("/sdapi/v1/txt2img", "{\"batch_size\":99}", 422, "n:");
    a1111_fails("/sdapi/v1/txt2img", "[]", 422, "object");
    a1111_fails("/sdapi/v1/txt2img", "{", 422, "JSON");
    a1111_fails("/sdapi/v1/img2img", "{\"prompt\":\"x\"}", 404, "Init image");
    a1111_fails("/sdapi/v1/img2img", "{\"init_images\":[\"aGk=\"]}", 422, "picture");
    a1111_fails("/sdapi/v1/extra-single-image", "{}", 422, "image");
    a1111_fails("/sdapi/v1/png-info", "{\"image\":\"aGk=\"}", 400, "PNG");
    a1111_fails("/sdapi/v1/nothing", "{}", 404, "no such thing");
}

static bool some_steps(const json_t *job)
{
    return int_of(job, "step") >= 10;
}

static void test_a1111_progress(void **state)
{
    (void)state;
    json_t *json = http_json(port, "GET", "/sdapi/v1/progress", NULL, 200);
    assert_true(json_number_value(json_object_get(json, "progress")) == 0);
    assert_true(json_is_null(json_object_get(json, "current_image")));
    json_decref(json);
    int64_t id = job_create(port, "{" SLOW_FIELDS "}");
    json_decref(job_until(port, id, some_steps));
    json = http_json(port, "GET", "/sdapi/v1/progress", NULL, 200);
    assert_true(json_number_value(json_object_get(json, "progress")) > 0);
    assert_int_equal(int_of(json_object_get(json, "state"), "sampling_steps"), 900);
    check_base64_picture(text_of(json, "current_image"), TINY_BASE_SIDE, TINY_BASE_SIDE);
    json_decref(json);
    json_decref(http_json(port, "POST", "/sdapi/v1/interrupt", NULL, 200));
    json = job_wait(port, id);
    assert_string_equal(text_of(json, "state"), "cancelled");
    json_decref(json);
}

/* A request that is interrupted is answered with what there is so far. */
static void test_a1111_interrupted(void **state)
{
    (void)state;
    static const char body[] = "{\"prompt\":\"x\",\"steps\":900,\"sampler_name\":\"DDPM\",\"seed\":1}";
    HttpAnswer a;
    int fd = http_begin(port, "POST", "/sdapi/v1/txt2img", "Content-Type: application/json\r\n", body, strlen(body)), step = 0;
    for (int i = 0; i < 2000 && step < 10; i++) {
        usleep(3000);
        json_t *json = http_json(port, "GET", "/sdapi/v1/progress?skip_current_image=true", NULL, 200);
        assert_true(json_is_null(json_object_get(json, "current_image")));
        step = (int)int_of(json_object_get(json, "state"), "sampling_step");
        json_decref(json);
    }
    json_decref(http_json(port, "POST", "/sdapi/v1/skip", NULL, 200));
    http_read(fd, &a);
    assert_int_equal(a.status, 200);
    json_t *json = json_loadb(a.body, a.size, 0, NULL);
    check_base64_picture(json_string_value(json_array_get(json_object_get(json, "images"), 0)), TINY_BASE_SIDE, TINY_BASE_SIDE);
    json_decref(json);
    http_release(&a);
}

/* As the npm packages stable-diffusion-api and a1111-webui-api send them: every field, null and [] where nothing is said. */
static void test_client_package(void **state)
{
    (void)state;
    char *picture = base64_picture(16, 16, 8);
    json_t *json = http_json(
        port, "POST", "/sdapi/v1/txt2img",
        "{\"enable_hr\":false,\"hr_scale\":2,\"hr_upscaler\":\"Latent\",\"hr_second_pass_steps\":0,\"hr_resize_x\":0,"
        "\"hr_resize_y\":0,\"hr_checkpoint_name\":null,\"hr_sampler_name\":null,\"hr_prompt\":null,\"hr_negative_prompt\":null,"
        "\"denoising_strength\":0.7,\"firstphase_width\":0,\"firstphase_height\":0,\"prompt\":\"red apple\",\"styles\":[],"
        "\"seed\":7,\"subseed\":-1,\"subseed_strength\":0,\"seed_resize_from_h\":0,\"seed_resize_from_w\":0,\"batch_size\":1,"
        "\"n_iter\":1,\"steps\":4,\"cfg_scale\":7,\"width\":512,\"height\":512,\"restore_faces\":false,\"tiling\":false,"
        "\"do_not_save_samples\":false,\"do_not_save_grid\":false,\"negative_prompt\":\"\",\"eta\":1,\"s_churn\":0,\"s_tmax\":0,"
        "\"s_tmin\":0,\"s_noise\":1,\"override_settings\":{},\"override_settings_restore_afterwards\":true,"
        "\"refiner_checkpoint\":null,\"refiner_switch_at\":0,\"script_args\":[],\"script_name\":null,\"send_images\":true,"
        "\"save_images\":false,\"alwayson_scripts\":{},\"sampler_name\":\"Euler a\"}",
        200);
    assert_int_equal(json_array_size(json_object_get(json, "images")), 1);
    json_decref(json);
    char *body = with_picture(
        "{\"init_images\":[\"%s\"],\"resize_mode\":0,\"denoising_strength\":0.75,\"image_cfg_scale\":1.5,\"mask\":null,"
        "\"mask_blur_x\":4,\"mask_blur_y\":4,\"mask_blur\":4,\"inpainting_fill\":0,\"inpaint_full_res\":true,"
        "\"inpaint_full_res_padding\":0,\"inpainting_mask_invert\":0,\"initial_noise_multiplier\":1,\"prompt\":\"a cat\","
        "\"sampler_name\":\"Euler a\",\"steps\":4,\"cfg_scale\":7,\"include_init_images\":false,\"script_name\":null}%s",
        picture, "");
    json = http_json(port, "POST", "/sdapi/v1/img2img", body, 200);
    assert_int_equal(json_array_size(json_object_get(json, "images")), 1);
    json_decref(json);
    free(body);
    static const char *const lists[][2] = {{"image_list", "image"}, {"imageList", "data"}}; /* the second is A1111's own */
    for (int i = 0; i < 2; i++) {
        char format[300];
        snprintf(format, sizeof format,
                 "{\"%s\":[{\"%s\":\"%%s\",\"name\":\"a\"},{\"%s\":\"%%s\",\"name\":\"b\"}],\"resize_mode\":0,"
                 "\"upscaling_resize\":2,\"upscaler_1\":\"None\",\"gfpgan_visibility\":0}", lists[i][0], lists[i][1], lists[i][1]);
        body = with_picture(format, picture, picture);
        json = http_json(port, "POST", "/sdapi/v1/extra-batch-images", body, 200);
        assert_int_equal(json_array_size(json_object_get(json, "images")), 2);
        check_base64_picture(json_string_value(json_array_get(json_object_get(json, "images"), 1)), 32, 32);
        json_decref(json);
        free(body);
    }
    a1111_fails("/sdapi/v1/extra-batch-images", "{\"imageList\":[]}", 422, "1 to 48 pictures");
    a1111_fails("/sdapi/v1/extra-batch-images", "{\"imageList\":[{\"name\":\"a\"}]}", 422, "expected a picture");
    free(picture);
}

static void check_memory(void)
{
    json_t *json = http_json(port, "GET", "/sdapi/v1/memory", NULL, 200), *ram = json_object_get(json, "ram");
    json_int_t used = json_integer_value(json_object_get(ram, "used")), total = json_integer_value(json_object_get(ram, "total"));
    assert_true(used > 1000000 && used < total);
    assert_true(json_integer_value(json_object_get(ram, "free")) > 0);
    assert_string_equal(text_of(json_object_get(json, "cuda"), "error"), "unavailable");
    json_decref(json);
}

static void test_a1111_tables(void **state)
{
    (void)state;
    static const char *const lists[] = {"samplers", "sd-models", "upscalers", "schedulers"};
    static const char *const empty[] = {"face-restorers", "hypernetworks", "realesrgan-models",    "prompt-styles",
                                        "loras",          "sd-vae",        "latent-upscale-modes", "script-info"};
    char path[64];
    for (int i = 0; i < 8; i++) {
        snprintf(path, sizeof path, "/sdapi/v1/%s", empty[i]);
        json_t *list = http_json(port, "GET", path, NULL, 200);
        assert_true(json_is_array(list) && json_array_size(list) == 0);
        json_decref(list);
    }
    json_decref(http_json(port, "GET", "/sdapi/v1/embeddings", NULL, 200));
    json_decref(http_json(port, "GET", "/sdapi/v1/scripts", NULL, 200));
    json_decref(http_json(port, "GET", "/sdapi/v1/cmd-flags", NULL, 200));
    json_decref(http_json(port, "POST", "/sdapi/v1/refresh-checkpoints", NULL, 200));
    check_memory();
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "/sdapi/v1/%s", lists[i]);
        json_t *list = http_json(port, "GET", path, NULL, 200);
        assert_true(json_array_size(list) > 0);
        json_decref(list);
    }
    json_decref(http_json(port, "GET", "/sdapi/v1/options", NULL, 200));
    json_decref(http_json(port, "POST", "/sdapi/v1/options", "{\"sd_model_checkpoint\":\"x\"}", 200));
    json_t *json = http_json(port, "POST", "/sdapi/v1/txt2img", "{\"prompt\":\"kite\",\"steps\":3,\"seed\":9}", 200);
    char *body = with_picture("{\"image\":\"%s\"}", json_string_value(json_array_get(json_object_get(json, "images"), 0)), "");
    json_t *info = http_json(port, "POST", "/sdapi/v1/png-info", body, 200);
    assert_string_equal(text_of(json_object_get(info, "items"), "prompt"), "kite");
    assert_int_equal(int_of(json_object_get(info, "parameters"), "seed"), 9);
    json_decref(info);
    free(body);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openai_generations),
        cmocka_unit_test(test_openai_refusals),
        cmocka_unit_test(test_openai_edits), cmocka_unit_test(test_painter),
        cmocka_unit_test(test_txt2img),
        cmocka_unit_test(test_img2img), cmocka_unit_test(test_extra),
        cmocka_unit_test(test_a1111_refusals),
        cmocka_unit_test(test_a1111_progress),
        cmocka_unit_test(test_a1111_interrupted),
        cmocka_unit_test(test_client_package),
        cmocka_unit_test(test_a1111_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
