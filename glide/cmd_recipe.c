/* glide recipe IMG... */
#include "glide/cli_commands.h"
#include "glide/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct RecipeCommand {
    bool json, a1111;
} RecipeCommand;

static const CliOption options[] = {
    CLI_FLAG(RecipeCommand, json, 'j', "json", "print JSON; of several pictures one object a line"),
    CLI_FLAG(RecipeCommand, a1111, 0, "a1111", "print the text that tools for AUTOMATIC1111's web UI read"),
};

/* A value on one line: control characters as JSON has them. */
static void print_line(const char *key, const char *value)
{
    printf("  %-22s ", key);
    for (const char *c = value; *c; c++) {
        if (*c == '\n') fputs("\\n", stdout);
        else if ((unsigned char)*c < 32 || *c == 127) printf("\\u%04x", (unsigned char)*c);
        else putchar(*c);
    }
    putchar('\n');
}

static Status make_a1111(const char *path, const GlideRecipe *r, char **text)
{
    Image image;
    TRY(image_read(path, &image));
    Status s = recipe_to_a1111(r, image.w, image.h, text);
    image_release(&image);
    return s;
}

static Status print_recipe(const char *path, const GlideRecipe *r, const RecipeCommand *c, bool alone)
{
    char *text;
    if (c->json) {
        TRY(recipe_to_json(r, alone ? 2 : 0, &text));
        puts(text);
        free(text);
        return STATUS_OK;
    }
    if (c->a1111) {
        PngTexts texts;
        TRY(png_read_text(path, &texts)); /* as it stands there, with the size; JPEGs have the recipe only */
        const char *found = png_texts_find(&texts, RECIPE_A1111_CHUNK);
        Status s = found ? STATUS_OK : make_a1111(path, r, &text);
        if (s == STATUS_OK) puts(found ? found : text);
        if (s == STATUS_OK && !found) free(text);
        png_texts_release(&texts);
        return s;
    }
    printf("%s\n", path);
    for (int i = 0; i < r->count; i++) print_line(r->lines[i].key, r->lines[i].value);
    return STATUS_OK;
}

static Status run(CliArgs *args)
{
    const RecipeCommand *c = args->options;
    if (c->json && c->a1111) return cli_usage_fail(args, "--a1111: expected no --json beside it");
    for (int i = 0; i < args->operand_count; i++) {
        GlideRecipe *r;
        if (c->a1111 && !strcmp(args->operands[i], "-"))
            return cli_usage_fail(args, "--a1111: expected a file, found standard input");
        TRY(recipe_read(args->operands[i], &r));
        Status s = print_recipe(args->operands[i], r, c, args->operand_count == 1);
        recipe_free(r);
        if (s != STATUS_OK) return s;
    }
    return STATUS_OK;
}

const CliCommand cli_command_recipe = {
    .name = "recipe",
    .summary = "print how a picture was made",
    .operands = "IMG...",
    .min_operands = 1,
    .max_operands = CLI_ANY,
    .description = "Every picture of this program carries its recipe: prompt, seed, sampler, steps, guidance and the "
                   "hashes of the weights that made "
                   "it (- is standard input). \"glide verify\" makes the picture again, \"glide sample --from IMG\" "
                   "makes another one by it.",
    .examples = "glide recipe apple.png\n"
                "glide recipe --json apple.png | jq .seed",
    .options = options,
    .option_count = CLI_COUNT(options),
    .options_size = sizeof(RecipeCommand),
    .run = run,
};
