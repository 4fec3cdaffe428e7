#include "glide/serve/serve_gallery.h"

#include "common/file_write.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 26, MOST_COPIES = 100 };

Status gallery_open(const char *folder)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s", folder) >= sizeof path)
        return status_fail(STATUS_BAD_INPUT, "gallery: too long a name");
    for (char *at = path + 1; *path && *at; at++) {
        if (*at != '/') continue;
        *at = 0;
        mkdir(path, 0777);
        *at = '/';
    }
    if (mkdir(path, 0777) != 0 && errno != EEXIST) return status_fail(STATUS_IO, "%s: cannot be made: %s", folder, strerror(errno));
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) return status_fail(STATUS_IO, "%s: expected a folder, found a file", folder);
    if (access(path, R_OK | W_OK | X_OK) != 0)
        return status_fail(STATUS_IO, "%s: expected a folder that can be written: %s", folder, strerror(errno));
    (void)file_remove_stale(path);
    return STATUS_OK;
}

bool gallery_name(const char *name)
{
    size_t n = strlen(name);
    if (n < 5 || n > 90 || strcmp(name + n - 4, ".png") != 0 || *name == '.') return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i])) return false;
    return true;
}

Status gallery_keep(const char *folder, uint64_t job, int index, const void *png, size_t size, char name[GALLERY_NAME])
{
    char path[PATH_MAX], when[32];
    time_t now = time(NULL);
    struct tm tm;
    bool taken = true;
    strftime(when, sizeof when, "%Y%m%d-%H%M%S", gmtime_r(&now, &tm));
    for (int copy = 0; taken && copy < MOST_COPIES; copy++) {
        int n = snprintf(name, GALLERY_NAME, "%s-%06llu-%02d", when, (unsigned long long)job, index + 1);
        if (copy) n += snprintf(name + n, GALLERY_NAME - (size_t)n, "-%02d", copy);
        snprintf(name + n, GALLERY_NAME - (size_t)n, ".png");
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
            return status_fail(STATUS_IO, "gallery: too long a name");
        TRY(file_write_new(path, png, size, &taken));
    }
    return taken ? status_fail(STATUS_IO, "%s: exists already, as do %d others of its second", path, MOST_COPIES - 1) : STATUS_OK;
}

static int by_name_down(const void *a, const void *b)
{
    return strcmp(*(char *const *)b, *(char *const *)a);
}

static Status read_names(const char *folder, const char *before, char ***names, size_t *count)
{
    DIR *dir = opendir(folder);
    size_t room = 0;
    Status s = STATUS_OK;
    *names = NULL;
    *count = 0;
    if (!dir) return status_fail(STATUS_IO, "the gallery cannot be read: %s", strerror(errno));
    for (struct dirent *e; s == STATUS_OK && (e = readdir(dir));) {
        if (!gallery_name(e->d_name) || (before && strcmp(e->d_name, before) >= 0)) continue;
        if (*count == room) {
            char **more = realloc(*names, (room = room ? 2 * room : 64) * sizeof **names);
            if (more)
                *names = more;
            else
                s = status_fail(STATUS_NO_MEMORY, "out of memory for the gallery");
        }
        if (s == STATUS_OK && ((*names)[*count] = strdup(e->d_name))) ++*count;
    }
    closedir(dir);
    if (*count) qsort(*names, *count, sizeof **names, by_name_down);
    return s;
}

Status gallery_list(const char *folder, const char *before, int most, json_t **out)
{
    char **names, path[PATH_MAX];
    size_t count;
    struct stat st;
    *out = json_array();
    Status s = read_names(folder, before, &names, &count);
    for (size_t i = 0; i < count; i++) {
        if ((int)json_array_size(*out) < most && (size_t)snprintf(path, sizeof path, "%s/%s", folder, names[i]) < sizeof path &&
            lstat(path, &st) == 0 && S_ISREG(st.st_mode))
            json_array_append_new(*out, json_pack("{s:s,s:I,s:I}", "name", names[i], "size", (json_int_t)st.st_size, "time",
                                                  (json_int_t)st.st_mtime));
        free(names[i]);
    }
    free(names);
    if (s != STATUS_OK) json_decref(*out);
    return s;
}

static Status none(const char *name)
{
    return status_fail(STATUS_BAD_INPUT, "%.90s: there is no such picture", name);
}

Status gallery_read(const char *folder, const char *name, unsigned char **bytes, size_t *size)
{
    char path[PATH_MAX];
    struct stat st;
    if (!gallery_name(name) || (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) return none(name);
    if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > MOST_BYTES) return none(name);
    FILE *f = fopen(path, "rbe");
    if (!f) return none(name);
    *bytes = malloc((size_t)st.st_size + 1);
    *size = *bytes ? fread(*bytes, 1, (size_t)st.st_size, f) : 0;
    fclose(f);
    return *bytes ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a picture");
}

Status gallery_remove(const char *folder, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    if (!gallery_name(name) || (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) return none(name);
    if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode)) return none(name);
    if (unlink(path) == 0) return STATUS_OK;
    return status_fail(STATUS_IO, "%s: cannot be removed: %s", name, strerror(errno));
}
