/* Recipes on the command line: the files that they name, and a command's options from one of them. */
#ifndef GLIDE_CMD_FROM_H
#define GLIDE_CMD_FROM_H

#include "glide/cli_options.h"
#include "glide/recipe.h"

#include <limits.h>

/* The file that "KEY_file" names, if it is in the picture's folder, the current one or that of the default weights. A picture is
 * only taken when it is the one of the recipe, by its hash. Returns `path`, NULL where there is none. */
const char *cli_recipe_file(const GlideRecipe *r, const char *key, const char *picture, char path[PATH_MAX]);

enum { CLI_FROM_FILES = 6 };

typedef struct CliFrom {
    GlideRecipe *recipe; /* the options' texts are borrowed from it */
    char paths[CLI_FROM_FILES][PATH_MAX];
} CliFrom;

/* --from: presets of glide sample's options, of --grid too where the picture is a sheet, and the prompt where there are no operands.
 * What is wrong with the recipe is a usage error. Release it when the command is done. */
Status cli_from(CliArgs *args, const char *picture, CliFrom *from);
void cli_from_release(CliFrom *from); /* a zeroed one is fine */

/* Warns on stderr of weights that are others than the recipe's, unless the option `name` chose them. `key`: "weights", ... */
void cli_from_compare(const CliFrom *from, const CliArgs *args, const char *name, const char *key, uint64_t hash);

#endif
