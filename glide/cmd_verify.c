/* glide verify IMG... */
#include "common/interrupt.h"
#include "glide/cli_commands.h"
#include "glide/cmd_from.h"
#include "glide/cmd_grid.h"
#include "glide/cmd_sampling.h"
#include "glide/recipe_call.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct VerifyCommand {
    const char *weights, *upsampler_weights, *guide_weights, *classifier, *clip, *input, *mask;
    int64_t threads;
    int precision;
    bool invert_mask, quiet;
} VerifyCommand;

static const CliOption options[] = {
    CLI_FILE(VerifyCommand, weights, 'w', "weights", "FILE", NULL,
             "of the base model, where they are others than the default ones"),
    CLI_FILE(VerifyCommand, upsampler_weights, 0, "upsampler-weights", "FILE", NULL, "of the upsampler, likewise"),
    CLI_FILE(VerifyCommand, guide_weights, 0, "guide-weights", "FILE", NULL, "the weaker model that guided"),
    CLI_FILE(VerifyCommand, classifier, 0, "classifier", "FILE", NULL, "the classifier that guided"),
    CLI_FILE(VerifyCommand, clip, 0, "clip", "FILE", NULL, "the CLIP that guided"),
    CLI_FILE(VerifyCommand, input, 'i', "input", "FILE", NULL,
             "the picture that was painted on, enlarged or started from"),
    CLI_FILE(VerifyCommand, mask, 'm', "mask", "FILE", NULL, "the mask of glide inpaint"),
    CLI_FLAG(VerifyCommand, invert_mask, 0, "invert-mask", "that mask was turned round"),
    CLI_CHOICE(VerifyCommand, precision, 0, "precision", cli_precisions, NULL,
               "of the computation; default: the recipe's"),
    CLI_INT(VerifyCommand, threads, 't', "threads", "N", 0, 1024, "0", "threads to use, 0 for all cores"),
    CLI_FLAG(VerifyCommand, quiet, 'q', "quiet", "print nothing for pictures that are identical, and no progress"),
};

/* One picture under way. */
typedef struct Verify {
    CliArgs *args;
    const VerifyCommand *command;
    const char *path;
    GlideRecipe *recipe;
    RecipeCall call;
    Image image;           /* as the file has it */
    GlidePicture again;    /* as the recipe makes it */
    GlidePicture input;
    GlideMask mask;
    char paths[10][PATH_MAX]; /* weights, guides of both stages, input, mask */
    Progress bar;
    bool bar_shown;
} Verify;

static void verify_release(Verify *v)
{
    recipe_free(v->recipe);
    image_release(&v->image);
    glide_picture_release(&v->again);
    glide_picture_release(&v->input);
    glide_mask_release(&v->mask);
}

/* --- what it was made of ------------------------------------------------------------------------------ */

static Status missing(const Verify *v, const char *key, const char *option)
{
    char hint[RECIPE_MAX_KEY];
    snprintf(hint, sizeof hint, "%s_file", key);
    const char *name = recipe_find(v->recipe, hint);
    return status_fail(STATUS_BAD_INPUT, "%s: was made with %s (%s), which is not here; expected --%s", v->path,
                       name ? name : "a file", recipe_find(v->recipe, key), option);
}

/* The file of a line: the option's, else the one that the recipe names. *out stays NULL where the recipe has no such line. */
static Status find_file(Verify *v, int slot, const char *key, const char *option, const char *given, const char **out)
{
    if (!recipe_find(v->recipe, key)) return STATUS_OK;
    *out = given ? given : cli_recipe_file(v->recipe, key, v->path, v->paths[slot]);
    return *out ? STATUS_OK : missing(v, key, option);
}

/* Default weights are found as always when no file of the recipe's name is here. */
static const char *weights_of(Verify *v, int slot, const char *key, const char *given)
{
    return given ? given : cli_recipe_file(v->recipe, key, v->path, v->paths[slot]);
}

static Status find_guides(Verify *v, int slot, bool upsampler, GlideGuidance *g)
{
    const VerifyCommand *c = v->command;
    TRY(find_file(v, slot, recipe_key(RECIPE_GUIDE_WEIGHTS, upsampler), "guide-weights", c->guide_weights, &g->guide_weights));
    TRY(find_file(v, slot + 1, recipe_key(RECIPE_CLASSIFIER, upsampler), "classifier", c->classifier, &g->classifier_weights));
    return find_file(v, slot + 2, recipe_key(RECIPE_CLIP, upsampler), "clip", c->clip, &g->clip_weights);
}

static Status find_input(Verify *v)
{
    const char *key = v->call.task == RECIPE_SAMPLE ? "init_image" : "input", *input = NULL, *mask = NULL;
    TRY(find_file(v, 8, key, "input", v->command->input, &input));
    if (!input) return v->call.task == RECIPE_SAMPLE ? STATUS_OK : missing(v, key, "input");
    TRY((Status)glide_picture_read(input, &v->input));
    v->call.sample.init_image = &v->input;
    if (v->call.task != RECIPE_INPAINT) return STATUS_OK;
    TRY(find_file(v, 9, "mask", "mask", v->command->mask, &mask));
    if (!mask) return missing(v, "mask", "mask");
    bool inverted = v->command->mask ? v->command->invert_mask : recipe_find(v->recipe, "invert_mask") != NULL;
    return (Status)glide_mask_read(mask, inverted, v->input.width, v->input.height, &v->mask);
}

/* --- again -------------------------------------------------------------------------------------------- */

static bool on_progress(void *ctx, const GlideProgress *p)
{
    Verify *v = ctx;
    char note[96];
    if (!v->bar_shown) {
        ProgressOptions o = progress_defaults(stderr);
        o.style = v->command->quiet ? PROGRESS_QUIET : PROGRESS_AUTO;
        o.label = "verifying";
        o.unit = NULL;
        o.total = 1000000;
        progress_start(&v->bar, &o);
        v->bar_shown = true;
    }
    snprintf(note, sizeof note, "%dx%d, step %d of %d", p->side, p->side, p->step, p->steps);
    progress_update(&v->bar, (int64_t)(p->fraction * 1e6), note);
    return !interrupt_requested();
}

static Status make_again(Verify *v, Glide *g)
{
    RecipeCall *c = &v->call;
    GlideCallbacks callbacks = {.progress = on_progress, .context = v};
    GlideStatus s = GLIDE_OK;
    c->sample.callbacks = c->inpaint.sample.callbacks = c->upsample.callbacks = callbacks;
    interrupt_install("\nstopping after this step; Ctrl-C again stops at once\n");
    switch (c->task) {
    case RECIPE_SAMPLE: s = glide_sample(g, c->prompt, &c->sample, &v->again); break;
    case RECIPE_INPAINT: s = glide_inpaint(g, &v->input, &v->mask, c->prompt, &c->inpaint, &v->again); break;
    case RECIPE_UPSAMPLE: s = glide_upsample(g, &v->input, &c->upsample, &v->again); break;
    }
    if (v->bar_shown && s == GLIDE_OK) progress_finish(&v->bar);
    else if (v->bar_shown) progress_abort(&v->bar);
    if (s == GLIDE_CANCELLED) return status_fail(STATUS_INTERRUPTED, "stopped");
    return s == GLIDE_OK ? STATUS_OK : status_prefix((Status)s, "%s: cannot be made again", v->path);
}

static Status open_and_make(Verify *v)
{
    const VerifyCommand *c = v->command;
    GlideOptions o = {.weights = weights_of(v, 0, "weights", c->weights), .threads = (int)c->threads,
                      .upsampler_weights = weights_of(v, 1, "upsampler_weights", c->upsampler_weights),
                      .precision = cli_given(v->args, "precision") ? cli_precision(v->args, c->precision) : v->call.precision};
    Glide *g;
    GlideGuidance *first = v->call.task == RECIPE_INPAINT ? &v->call.inpaint.sample.guidance : &v->call.sample.guidance;
    GlideGuidance *second = v->call.task == RECIPE_INPAINT    ? &v->call.inpaint.sample.upsampler_guidance
                            : v->call.task == RECIPE_UPSAMPLE ? &v->call.upsample.guidance
                                                              : &v->call.sample.upsampler_guidance;
    TRY(find_guides(v, 2, false, first));
    TRY(find_guides(v, 5, true, second));
    TRY(find_input(v));
    TRY((Status)glide_open(&o, &g));
    Status s = make_again(v, g);
    glide_close(g);
    return s;
}

/* Every option of glide verify that is given goes to glide sample, which makes sheets. */
static Status make_sheet_again(Verify *v)
{
    const VerifyCommand *c = v->command;
    char threads[24];
    const char *const given[][2] = {{"--weights", c->weights}, {"--upsampler-weights", c->upsampler_weights},
                                    {"--guide-weights", c->guide_weights}, {"--classifier", c->classifier}, {"--clip", c->clip},
                                    {"--init-image", c->input}, {"--threads", threads},
                                    {"--precision", cli_given(v->args, "precision") ? cli_precisions[c->precision] : NULL}};
    const char *argv[4 + 2 * CLI_COUNT(given)] = {"sample", "--from", v->path};
    int argc = 3;
    snprintf(threads, sizeof threads, "%lld", (long long)c->threads);
    for (int i = 0; i < CLI_COUNT(given); i++)
        if (given[i][1]) argv[argc++] = given[i][0], argv[argc++] = given[i][1];
    if (c->quiet) argv[argc++] = "--quiet";
    Status s = grid_again(argc, (char **)argv, &v->again);
    if (s == STATUS_INTERRUPTED) return status_fail(s, "stopped");
    return s == STATUS_OK ? s : status_prefix(s, "%s: cannot be made again", v->path);
}

/* --- comparing ---------------------------------------------------------------------------------------- */

/* "" when they are the same. */
static void describe_pixels(const Image *a, const GlidePicture *b, char *text, size_t size)
{
    int64_t pixels = 0, n = (int64_t)a->w * a->h;
    int most = 0;
    double sum = 0;
    *text = 0;
    if (a->w != b->width || a->h != b->height) {
        snprintf(text, size, "%dx%d pixels, its recipe makes %dx%d", a->w, a->h, b->width, b->height);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        int here = 0;
        for (int c = 0; c < 3; c++) {
            int d = abs(a->pixels[3 * i + c] - b->rgb[3 * i + c]);
            if (d > here) here = d;
            sum += (double)d * d;
        }
        pixels += here > 0;
        if (here > most) most = here;
    }
    if (pixels)
        snprintf(text, size, "%lld of %lld pixels, the largest difference is %d of 255, PSNR %.1f dB",
                 (long long)pixels, (long long)n, most, 10 * log10(255.0 * 255.0 * 3 * (double)n / sum));
}

/* The option that names the file of a recipe's line. */
static bool option_given(const Verify *v, const char *key)
{
    char name[RECIPE_MAX_KEY];
    if (!strncmp(key, "upsampler_", 10) && strcmp(key, "upsampler_weights")) key += 10; /* one option for both stages */
    snprintf(name, sizeof name, "%s", !strcmp(key, "init_image") ? "input" : key);
    for (char *c = name; *c; c++)
        if (*c == '_') *c = '-';
    return cli_option(v->args->command, name) && cli_given(v->args, name);
}

static const char elsewhere[] = "elsewhere";

/* Where the recipe says to look: for a file whose hash it has, and which is there unless an option named another. */
static int compare_hints(const Verify *v, RecipeDifference *out, int count)
{
    for (int i = 0; i < v->recipe->count && count < RECIPE_MAX_LINES; i++) {
        char key[RECIPE_MAX_KEY], path[PATH_MAX];
        const PngText *line = &v->recipe->lines[i];
        size_t n = strlen(line->key);
        if (n <= 5 || n >= sizeof key || strcmp(line->key + n - 5, "_file")) continue;
        snprintf(key, sizeof key, "%.*s", (int)(n - 5), line->key);
        bool known = recipe_find(v->recipe, key) != NULL;
        if (known && (option_given(v, key) || cli_recipe_file(v->recipe, key, v->path, path))) continue;
        out[count++] = (RecipeDifference){line->key, line->value, known ? elsewhere : NULL};
    }
    return count;
}

/* Lines of the recipe that came out otherwise. Another version alone is no fault, nor is a file of another name with the same
 * content. */
static int print_differences(const RecipeDifference *all, int n)
{
    int faults = 0;
    for (int i = 0; i < n; i++) {
        char a[80], b[80];
        printf("  %s: %s in its recipe, %s here\n", all[i].key, all[i].a ? cli_quote(all[i].a, a, sizeof a) : "missing",
               all[i].b == elsewhere ? "which is not" : all[i].b ? cli_quote(all[i].b, b, sizeof b) : "none");
        faults += strcmp(all[i].key, "version") != 0 && all[i].b != elsewhere;
    }
    return faults;
}

/* The text for other tools must say what the recipe says. */
static Status check_a1111(const Verify *v, int *faults)
{
    PngTexts texts;
    char *expected;
    TRY(png_read_text(v->path, &texts));
    const char *found = png_texts_find(&texts, RECIPE_A1111_CHUNK);
    Status s = recipe_to_a1111(v->recipe, v->image.w, v->image.h, &expected);
    if (s == STATUS_OK && (!found || strcmp(found, expected))) {
        char a[40], b[40];
        size_t at = 0;
        while (found && found[at] && found[at] == expected[at]) at++;
        while (at > 0 && ((unsigned char)expected[at] & 0xc0) == 0x80) at--;
        if (!found) puts("  its \"parameters\" are missing");
        else printf("  its \"parameters\" go on with %s where its recipe says %s\n", cli_quote(found + at, a, sizeof a),
                    cli_quote(expected + at, b, sizeof b));
        ++*faults;
    }
    if (s == STATUS_OK) free(expected);
    png_texts_release(&texts);
    return s;
}

static Status report(const Verify *v, bool *identical)
{
    char pixels[160];
    describe_pixels(&v->image, &v->again, pixels, sizeof pixels);
    RecipeDifference all[RECIPE_MAX_LINES];
    int lines = recipe_compare(v->recipe, v->again.recipe, all, RECIPE_MAX_LINES), faults = *pixels != 0;
    lines = compare_hints(v, all, lines < RECIPE_MAX_LINES ? lines : RECIPE_MAX_LINES);
    if (*pixels) printf("%s: differs: %s\n", v->path, pixels);
    else if (!v->command->quiet || lines) printf("%s: identical\n", v->path);
    faults += print_differences(all, lines);
    TRY(check_a1111(v, &faults));
    fflush(stdout);
    *identical = faults == 0;
    return STATUS_OK;
}

static Status verify_picture(Verify *v, bool *identical)
{
    TRY(recipe_read(v->path, &v->recipe));
    if (jpeg_is_named(v->path))
        return status_fail(STATUS_BAD_INPUT, "%s: a JPEG does not hold the pixels as they were made, expected a PNG", v->path);
    TRY(image_read(v->path, &v->image));
    if (!strcmp(recipe_find(v->recipe, "task"), "grid")) {
        TRY(make_sheet_again(v));
        return report(v, identical);
    }
    Status s = recipe_call(v->recipe, &v->call);
    if (s != STATUS_OK) return status_prefix(s, "%s", v->path);
    TRY(open_and_make(v));
    return report(v, identical);
}

static Status run(CliArgs *args)
{
    int others = 0;
    for (int i = 0; i < args->operand_count; i++) {
        if (!strcmp(args->operands[i], "-")) return cli_usage_fail(args, "expected a file, found standard input");
        bool identical = false;
        Verify *v = calloc(1, sizeof *v);
        if (!v) return status_fail(STATUS_NO_MEMORY, "out of memory");
        v->args = args;
        v->command = args->options;
        v->path = args->operands[i];
        Status s = verify_picture(v, &identical);
        verify_release(v);
        free(v);
        if (s != STATUS_OK) return s;
        others += !identical;
    }
    if (others == 0) return STATUS_OK;
    if (args->operand_count == 1) return status_fail(STATUS_INTERNAL, "%s is not what its recipe makes here", args->operands[0]);
    return status_fail(STATUS_INTERNAL, "%d of %d pictures are not what their recipes make here", others, args->operand_count);
}

const CliCommand cli_command_verify = {
    .name = "verify",
    .summary = "make pictures again by their recipes and compare",
    .operands = "IMG...",
    .min_operands = 1,
    .max_operands = CLI_ANY,
    .description = "Makes each picture, or each sheet of glide sample --grid, again by the recipe that it carries and says "
                   "\"identical\", or how many pixels differ and by how much, and what else is different: other weights, another "
                   "version, another precision, a changed recipe. Exit status 0 when all are identical, 1 when one is not, 2 when "
                   "one has no recipe or cannot be made.\n"
                   "\n"
                   "What a picture was made of (a picture that was enlarged or painted on, weights other than the default ones) is "
                   "looked for by its name in the picture's folder, in the current one and beside the default weights; the options "
                   "below name it.",
    .examples = "glide verify apple.png\n"
                "glide verify painted.png --input photo.jpg --mask mask.png",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(VerifyCommand),
    .run = run,
};
