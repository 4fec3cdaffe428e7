#include "glide/weights_path.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const weights_places[] = {"../data/weights", "../../data/weights", "../share/glide", "../../share/glide", NULL};
static const char *const data_places[] = {"../data", "../../data", "../share/glide", "../../share/glide", NULL};

/* /folder/file -> /folder */
static void cut_file_name(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash) *slash = 0;
}

static bool program_folder(char *folder, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", folder, size);
    if (n <= 0 || (size_t)n >= size) return false;
    folder[n] = 0;
    cut_file_name(folder);
    return true;
}

/* Of the file that this function was loaded from: libglide.so, or the program where the library is linked in. */
static bool library_folder(char *folder, size_t size)
{
    Dl_info info;
    char *real = dladdr((const void *)weights_places, &info) && info.dli_fname ? realpath(info.dli_fname, NULL) : NULL;
    bool fits = real && (size_t)snprintf(folder, size, "%s", real) < size;
    free(real);
    if (fits) cut_file_name(folder);
    return fits;
}

static bool found_below(const char *folder, const char *const *places, const char *name, char *path, size_t size)
{
    for (int i = 0; places[i]; i++) {
        char candidate[PATH_MAX];
        if ((size_t)snprintf(candidate, sizeof candidate, "%s/%s/%s", folder, places[i], name) >= sizeof candidate) continue;
        char *real = realpath(candidate, NULL); /* for messages: without the dots */
        bool found = real && (size_t)snprintf(path, size, "%s", real) < size;
        free(real);
        if (found) return true;
    }
    return false;
}

static bool found_anywhere(const char *const *places, const char *name, char *path, size_t size)
{
    char folder[PATH_MAX];
    if (program_folder(folder, sizeof folder) && found_below(folder, places, name, path, size)) return true;
    return library_folder(folder, sizeof folder) && found_below(folder, places, name, path, size);
}

Status data_path_default(const char *name, char *path, size_t size)
{
    char folder[PATH_MAX];
    if (found_anywhere(data_places, name, path, size)) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT, "%s: is neither in ../data nor in ../share/glide beside %s", name,
                       program_folder(folder, sizeof folder) ? folder : "the program");
}

/* Which option names another file. */
static const char *option_of(const char *name)
{
    static const char *const options[][2] = {{"base.h5", "--weights"}, {"upsampler.h5", "--upsampler-weights"},
                                             {"classifier.h5", "--classifier"}, {"clip.h5", "--clip"}, {"judge.h5", "--judge"}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (!strcmp(name, options[i][0])) return options[i][1];
    return "an option";
}

Status weights_path_default(const char *name, char *path, size_t size)
{
    char folder[PATH_MAX];
    const char *chosen = getenv("GLIDE_WEIGHTS");
    if (chosen && *chosen) {
        if ((size_t)snprintf(path, size, "%s/%s", chosen, name) >= size)
            return status_fail(STATUS_BAD_INPUT, "$GLIDE_WEIGHTS is too long for a path");
        if (access(path, F_OK) == 0) return STATUS_OK;
        return status_fail(STATUS_BAD_INPUT, "no default weights: $GLIDE_WEIGHTS is %s, but there is no %s in it", chosen, name);
    }
    if (found_anywhere(weights_places, name, path, size)) return STATUS_OK;
    return status_fail(STATUS_BAD_INPUT,
                       "no default weights: %s is neither in ../data/weights nor in ../share/glide beside %s; name a file with "
                       "%s, or their folder with $GLIDE_WEIGHTS",
                       name, program_folder(folder, sizeof folder) ? folder : "the program", option_of(name));
}

const char *weights_path_painter(char *path, size_t size)
{
    return weights_path_default("base-inpaint.h5", path, size) == STATUS_OK ? path : NULL;
}

Status program_sibling(const char *name, char *path, size_t size)
{
    char folder[PATH_MAX];
    if (!program_folder(folder, sizeof folder)) return status_fail(STATUS_IO, "/proc/self/exe: cannot be read: %s", strerror(errno));
    if ((size_t)snprintf(path, size, "%s/%s", folder, name) < size) return STATUS_OK;
    return status_fail(STATUS_IO, "%s: too long a path", folder);
}
