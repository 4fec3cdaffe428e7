/* Import of PyTorch state dicts: what is inferred, configurations and tokenizers in files, and `glide import` itself. That
 * imported models compute what they should is test_parity.c's. */
#include "tests/support_folder.h"
#include "tests/support_status.h"
#include "text_transformer/bpe_file.h"
#include "text_transformer/text_unet_file.h"
#include "text_transformer/text_unet_import.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE "tests/fixtures/unet_base.pt"
#define MERGES "tests/fixtures/tokenizer_vocab.bpe.gz"

static const char *write_text(const char *name, const char *text)
{
    const char *path = in_test_folder(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void check_fails(Status status, const char *part)
{
    assert_int_equal(status, STATUS_BAD_INPUT);
    if (!strstr(status_message(), part)) fail_msg("\"%s\" does not say \"%s\"", status_message(), part);
}

/* --- inference --- */

static void test_infer(void **state)
{
    (void)state;
    StateDict *dict;
    TextUNetConfig c;
    TextUNet *m;
    OK(state_dict_open(BASE, NULL, &dict));
    OK(text_unet_infer(dict, BASE, &c));
    assert_int_equal(c.unet.channels, 16);
    assert_int_equal(c.unet.levels, 2);
    assert_int_equal(c.text.layers, 2);
    assert_int_equal(c.unet.head_channels, 0); /* not to be told, and not a published size */
    assert_int_equal(c.text.heads, 0);
    c.unet.head_channels = 16;
    c.text.heads = 4;
    c.unet.mult[1] = 4;
    check_fails(text_unet_import(dict, &c, &m), "of another shape");
    assert_null(m);
    c.unet.mult[1] = 2;
    c.text.layers = 3;
    check_fails(text_unet_import(dict, &c, &m), "missing");
    assert_non_null(strstr(status_details(), "  missing:\n    transformer.resblocks.2."));
    c.text.layers = 1;
    check_fails(text_unet_import(dict, &c, &m), "unexpected");
    assert_non_null(strstr(status_details(), "  unexpected:\n    transformer.resblocks.1."));
    c.text.layers = 2;
    OK(text_unet_import(dict, &c, &m));
    assert_int_equal(m->params.count, dict->count);
    text_unet_free(m);
    state_dict_close(dict);
    OK(state_dict_open("tests/fixtures/pt_zip.pt", NULL, &dict));
    check_fails(text_unet_infer(dict, "x.pt", &c), "x.pt: no parameter time_embed.0.weight");
    state_dict_close(dict);
}

/* --- JSON --- */

#define CONFIG(extra)                                                                                                \
    "{\"image_size\": 16, \"in_channels\": 3, \"channels\": 16, \"mult\": [2, 2], \"blocks\": 1, \"attention\": [16, 8], " \
    "\"head_channels\": 16, \"n_vocab\": 857, \"text_ctx\": 16, \"text_width\": 64, \"text_layers\": 2, "             \
    "\"text_heads\": 4, \"dropout\": 0.1, \"step\": 1234, \"batch\": 64, \"schedule\": \"cosine\"" extra "}"

static void test_json_configuration(void **state)
{
    (void)state;
    TextUNetConfig c;
    int64_t steps, batch;
    OK(text_unet_config_from_json(write_text("c.json", CONFIG("")), &c, &steps, &batch));
    assert_int_equal(steps, 1234);
    assert_int_equal(batch, 64);
    assert_int_equal(c.unet.attention_count, 2);
    assert_int_equal(c.unet.attention_ds[1], 2);
    assert_string_equal(c.noise_schedule, "squaredcos_cap_v2");
    assert_true(c.unet.dropout == 0.1f && c.unet.mult[1] == 2);
    OK(text_unet_config_from_json(write_text("c.json", CONFIG(", \"in_channels\": 10, \"schedule\": \"linear\"")), &c,
                                  NULL, NULL)); /* the last of repeated names counts */
    assert_true(c.low_res && c.inpaint && c.unet.in_channels == 10);
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{", "c.json: line 1"},
        {"[]", "image_size: expected a whole number"},
        {CONFIG(", \"channels\": 0"), "channels: expected a whole number from 1"},
        {CONFIG(", \"channels\": \"16\""), "channels: expected a whole number"},
        {CONFIG(", \"in_channels\": 5"), "in_channels: expected 3, 6, 7 or 10"},
        {CONFIG(", \"attention\": [7]"), "attention: expected sizes that divide image_size"},
        {CONFIG(", \"mult\": [1, 1, 1, 1, 1, 1, 1, 1, 1]"), "mult: expected a list of up to 8 factors"},
        {CONFIG(", \"mult\": [1, -1]"), "mult: expected factors above 0"},
        {CONFIG(", \"schedule\": \"sine\""), "schedule: expected cosine or linear"},
        {CONFIG(", \"text_heads\": null"), "text_heads: expected a whole number"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_fails(text_unet_config_from_json(write_text("c.json", bad[i].text), &c, NULL, NULL), bad[i].message);
    FAILS(text_unet_config_from_json(in_test_folder("none.json"), &c, NULL, NULL), STATUS_IO, "none.json: No such file or directory");
}

/* The official text as JSON, as a trainer in Python has it. */
static const char *write_json_merges(const char *name, const Bpe *bpe)
{
    char *text, *line, *rest;
    OK(bpe_merges_text(bpe_merges(bpe), &text, NULL));
    const char *path = in_test_folder(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(" {\"merges\": [", f);
    strtok_r(text, "\n", &rest); /* the version */
    for (int i = 0; (line = strtok_r(NULL, "\n", &rest)); i++) {
        char *blank = strchr(line, ' ');
        *blank = 0;
        fprintf(f, "%s[\"", i ? ", " : "");
        for (const char *c = line; *c; c++) fprintf(f, "%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
        fputs("\", \"", f);
        for (const char *c = blank + 1; *c; c++) fprintf(f, "%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
        fputs("\"]", f);
    }
    fputs("]}\n", f);
    fclose(f);
    free(text);
    return path;
}

static void test_tokenizer_files(void **state)
{
    (void)state;
    Bpe *official, *json;
    char *a, *b;
    OK(bpe_from_file(MERGES, &official));
    assert_int_equal(bpe_vocab_size(official), 857);
    OK(bpe_from_file(write_json_merges("bpe.json", official), &json));
    OK(bpe_merges_text(bpe_merges(official), &a, NULL));
    OK(bpe_merges_text(bpe_merges(json), &b, NULL));
    assert_string_equal(a, b);
    free(a);
    free(b);
    bpe_free(json);
    bpe_free(official);
    check_fails(bpe_from_file(write_text("b.json", "{\"merges\": 3}"), &json), "b.json: merges: expected a list of pairs");
    assert_null(json);
    check_fails(bpe_from_file(write_text("b.json", "{\"merges\": [[\"a\", \"b\"], [\"a\"]]}"), &json), "merges[1]");
    check_fails(bpe_from_file(write_text("b.json", "{\"merges\": [[\"a\", \"b c\"]]}"), &json), "merges[0]");
    check_fails(bpe_from_file(write_text("b.json", "{\"merges\": [[\"ab\", \"c\"]]}"), &json), "b.json");
    check_fails(bpe_from_file(write_text("b.json", "{\"merges\""), &json), "b.json: line 1");
    check_fails(bpe_from_file(write_text("b.txt", "nonsense\n"), &json), "b.txt");
    assert_int_equal(bpe_from_file(in_test_folder("none"), &json), STATUS_IO);
}

/* --- the command --- */

static int run_import(const char *words, char *text, size_t size)
{
    const char *build = getenv("GLIDE_BUILD");
    char line[4 * PATH_MAX];
    snprintf(line, sizeof line, "%s/glide import %s 2>&1", build ? build : "build", words);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t n = fread(text, 1, size - 1, pipe);
    text[n] = 0;
    int how = pclose(pipe);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

static void check_command(const char *words, int exit_status, const char *part)
{
    char text[4096];
    int found = run_import(words, text, sizeof text);
    if (found != exit_status || !strstr(text, part))
        fail_msg("glide import %s: exit status %d, \"%s\"; expected %d, \"%s\"", words, found, text, exit_status, part);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
}

static void check_same_params(const TextUNet *m, const char *pt)
{
    StateDict *dict;
    OK(state_dict_open(pt, NULL, &dict));
    for (int i = 0; i < m->params.count; i++) {
        const Param *param = m->params.items[i];
        float *values = malloc((param->size + 1) * sizeof *values);
        OK(state_dict_read_f32(dict, state_dict_find(dict, param->name), values));
        assert_memory_equal(values, param->value, param->size * sizeof *values);
        free(values);
    }
    state_dict_close(dict);
}

static void test_command(void **state)
{
    (void)state;
    char path[PATH_MAX], words[3 * PATH_MAX];
    const char *build = getenv("GLIDE_BUILD"), *out = in_test_folder("w.h5");
    TextUNet *m;
    snprintf(path, sizeof path, "%s/glide", build ? build : "build");
    if (access(path, X_OK) != 0) skip();
    check_command(BASE, 2, "--output: expected a file");
    snprintf(words, sizeof words, BASE " -o %s", out);
    check_command(words, 2, "--num-head-channels");
    snprintf(words, sizeof words, BASE " -o %s --num-head-channels 16", out);
    check_command(words, 2, "--xf-heads");
    snprintf(words, sizeof words, BASE " -o %s --num-head-channels 16 --xf-heads 5", out);
    check_command(words, 2, BASE ": xf_heads: 5 does not divide xf_width 64");
    snprintf(words, sizeof words, BASE " -o %s --num-head-channels 16 --xf-heads 4 --as upsampler", out);
    check_command(words, 2, "makes it a base model, not an upsampler");
    snprintf(words, sizeof words, "tests/fixtures/unet_base.h5 -o %s --num-head-channels 16", out);
    check_command(words, 2, "unet_base.h5: not a PyTorch checkpoint");
    assert_int_equal(access(out, F_OK), -1);

    snprintf(words, sizeof words, BASE " -o %s --num-head-channels 16 --xf-heads 4 --image-size 16 --bpe " MERGES, out);
    check_command(words, 0, "base, 501510 parameters, single precision\n");
    OK(text_unet_load(out, "base", &m, NULL));
    check_same_params(m, BASE);
    assert_int_equal(bpe_vocab_size(m->bpe), 857);
    assert_int_equal(m->config.unet.image_size, 16);
    text_unet_free(m);

    Bpe *bpe;
    OK(bpe_from_file(MERGES, &bpe));
    const char *json = write_json_merges("bpe.json", bpe), *config = write_text("c.json", CONFIG(""));
    bpe_free(bpe);
    snprintf(words, sizeof words, BASE " -o %s --config %s --bpe %s --store f16", out, config, json);
    check_command(words, 0, "base, 501510 parameters, half precision\n");
    OK(text_unet_load(out, "base", &m, NULL));
    assert_int_equal(m->config.text.heads, 4);
    text_unet_free(m);
    snprintf(words, sizeof words, "tests/fixtures/training.pt -o %s --num-head-channels 16 --xf-heads 2 --bpe %s", out, json);
    check_command(words, 2, "makes 857 tokens, but tests/fixtures/training.pt was trained with 64");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_infer),
        cmocka_unit_test(test_json_configuration),
        cmocka_unit_test(test_tokenizer_files),
        cmocka_unit_test(test_command),
    };
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
