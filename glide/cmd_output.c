#include "glide/cmd_output.h"

#include "common/file_write.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_stdout(const char *path)
{
    return !strcmp(path, "-") || !strcmp(path, "/dev/stdout");
}

bool cli_output_is_folder(const char *path)
{
    struct stat st;
    size_t n = strlen(path);
    return (n > 0 && path[n - 1] == '/') || (stat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

/* Start of the ending of the file name, or its end when it has none. */
static const char *ending_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    return dot && dot != name ? dot : path + strlen(path);
}

/* A name that promises another format is a mistake worth stopping at. */
static Status check_ending(CliArgs *args, const char *path)
{
    static const char *const others[] = {".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".svg", ".h5"};
    char quoted[80];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcasecmp(ending_of(path), others[i]))
            return cli_usage_fail(args, "--output: expected a name that ends in .png or .jpg, which is what is written, found %s",
                                  cli_quote(path, quoted, sizeof quoted));
    return STATUS_OK;
}

static Status check_stdout(CliArgs *args, int count)
{
    if (count > 1) return cli_usage_fail(args, "--output: expected a file name for %d pictures, found \"-\"", count);
    if (isatty(STDOUT_FILENO))
        return cli_usage_fail(args, "--output: standard output is a terminal; send the picture into a file or a pipe");
    return STATUS_OK;
}

static Status check_names(const CliOutput *o, CliArgs *args)
{
    char path[PATH_MAX];
    for (int i = 0; i < o->count; i++) {
        TRY(file_check_writable(cli_output_name(o, i, path, sizeof path)));
        TRY(cli_check_overwrite(args, "output", path));
    }
    return STATUS_OK;
}

Status cli_output_init(CliOutput *o, CliArgs *args, const char *output, const char *usual, int count)
{
    struct stat st;
    char path[PATH_MAX];
    bool folder = cli_output_is_folder(output);
    const char *slash = folder && output[strlen(output) - 1] != '/' ? "/" : "";
    *o = (CliOutput){.count = count};
    if (is_stdout(output)) TRY(check_stdout(args, count));
    if (folder && stat(output, &st) != 0) return cli_usage_fail(args, "--output: there is no folder %s", output);
    if (folder && !S_ISDIR(st.st_mode)) return cli_usage_fail(args, "--output: %s is not a folder", output);
    if ((size_t)snprintf(path, sizeof path, "%s%s%s", output, slash, folder ? usual : "") >= sizeof path - 16)
        return cli_usage_fail(args, "--output: too long a name");
    TRY(check_ending(args, path));
    o->path = strdup(path);
    if (!o->path) return status_fail(STATUS_NO_MEMORY, "out of memory");
    Status s = check_names(o, args);
    if (s != STATUS_OK) cli_output_release(o);
    return s;
}

void cli_output_release(CliOutput *o)
{
    free(o->path);
    *o = (CliOutput){0};
}

const char *cli_output_name(const CliOutput *o, int index, char *path, size_t size)
{
    const char *ending = ending_of(o->path);
    char most[16], number[16];
    int width = snprintf(most, sizeof most, "%d", o->count);
    snprintf(number, sizeof number, "%0*d", width < 10 ? width : 10, index + 1);
    if (o->count == 1) snprintf(path, size, "%s", o->path);
    else snprintf(path, size, "%.*s-%s%s", (int)(ending - o->path), o->path, number, ending);
    return path;
}
