#include "glide/cmd_upsample_files.h"

#include "glide/cmd_sampling.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static Status add_input(UpsampleFiles *f, const char *name)
{
    if (f->count == f->capacity) {
        int capacity = f->capacity ? 2 * f->capacity : 64;
        char **grown = realloc(f->inputs, (size_t)capacity * sizeof *grown);
        if (!grown) return status_fail(STATUS_NO_MEMORY, "out of memory for names");
        f->inputs = grown;
        f->capacity = capacity;
    }
    f->inputs[f->count] = strdup(name);
    return f->inputs[f->count++] ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for names");
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int is_picture(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && dot != entry->d_name && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg") ||
                                       !strcasecmp(dot, ".webp"));
}

static Status add_folder(UpsampleFiles *f, CliArgs *args, const char *folder)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, is_picture, alphasort);
    if (n < 0) return status_fail(STATUS_IO, "%s: %s", folder, strerror(errno));
    Status s = STATUS_OK;
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        size_t length = strlen(folder);
        int used = snprintf(path, sizeof path, "%s%s%s", folder, folder[length - 1] == '/' ? "" : "/", entries[i]->d_name);
        if (s == STATUS_OK && used < (int)sizeof path) s = add_input(f, path);
        free(entries[i]);
    }
    free(entries);
    if (s == STATUS_OK && n == 0) return cli_usage_fail(args, "%s: a folder without PNG, JPEG or WebP files", folder);
    return s;
}

Status upsample_files_inputs(UpsampleFiles *f, CliArgs *args)
{
    *f = (UpsampleFiles){0};
    for (int i = 0; i < args->operand_count; i++)
        TRY(is_folder(args->operands[i]) ? add_folder(f, args, args->operands[i]) : add_input(f, args->operands[i]));
    return STATUS_OK;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Of a folder: options and operands are compared by cli_check_overwrite(). */
static Status check_not_input(CliArgs *args, const char *in, const char *output)
{
    if (!strcmp(output, "-") || !cli_same_file(in, output)) return STATUS_OK;
    return cli_usage_fail(args, "--output: %s is the picture to upsample; expected another name", output);
}

static Status check_names(const UpsampleFiles *f, CliArgs *args)
{
    for (int i = 0; i < f->count; i++)
        for (int k = 0; k < f->count; k++) {
            const char *output = f->outputs[i].path;
            if (k < i && !strcmp(output, f->outputs[k].path))
                return cli_usage_fail(args, "%s and %s would both be written to %s", f->inputs[k], f->inputs[i], output);
            if (!strcmp(last_part(output), last_part(f->inputs[k])))
                TRY(check_not_input(args, f->inputs[k], output));
        }
    return STATUS_OK;
}

static bool are_many(const CliArgs *args)
{
    return args->operand_count > 1 || is_folder(args->operands[0]);
}

bool upsample_files_in_folder(const CliArgs *args, const char *output)
{
    return are_many(args) || cli_output_is_folder(output);
}

/* Told before a folder that is missing for its picture. "-" is standard input. */
static Status check_exists(const char *input)
{
    if (!strcmp(input, "-") || access(input, F_OK) == 0) return STATUS_OK;
    return status_fail(STATUS_IO, "%s: cannot be read: %s", input, strerror(errno));
}

Status upsample_files_init(UpsampleFiles *f, CliArgs *args, const char *output, const char *what, const char *ending)
{
    bool many = are_many(args);
    Status s = upsample_files_inputs(f, args);
    if (s == STATUS_OK && !many) s = check_exists(args->operands[0]);
    if (s == STATUS_OK && many && !is_folder(output) && mkdir(output, 0777) != 0)
        s = cli_usage_fail(args, "--output: expected a folder for several pictures; %s: %s", output, strerror(errno));
    if (s == STATUS_OK && !(f->outputs = calloc((size_t)f->count, sizeof *f->outputs)))
        s = status_fail(STATUS_NO_MEMORY, "out of memory for names");
    for (int i = 0; s == STATUS_OK && i < f->count; i++) {
        char name[512];
        cli_picture_name(f->inputs[i], what, ending, name, sizeof name);
        s = cli_output_init(&f->outputs[i], args, output, name, 1);
    }
    if (s == STATUS_OK) s = check_names(f, args);
    if (s != STATUS_OK) upsample_files_release(f);
    return s;
}

void upsample_files_release(UpsampleFiles *f)
{
    for (int i = 0; i < f->count; i++) {
        free(f->inputs[i]);
        if (f->outputs) cli_output_release(&f->outputs[i]);
    }
    free(f->inputs);
    free(f->outputs);
    *f = (UpsampleFiles){0};
}
