#include "common/file_write.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static Status cannot_write(const char *path, int error)
{
    return status_fail(STATUS_IO, "%s: cannot be written: %s", path, strerror(error));
}

static int write_all(int fd, const void *bytes, size_t size) /* errno, 0 when done */
{
    const char *p = bytes;
    while (size > 0) {
        ssize_t n = write(fd, p, size < (1u << 30) ? size : (1u << 30));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

/* /dev/stdout is reopened by the kernel when it is a redirected file, from its start: use the descriptor itself. */
static int standard_stream(const char *path)
{
    if (!strcmp(path, "-") || !strcmp(path, "/dev/stdout")) return STDOUT_FILENO;
    return !strcmp(path, "/dev/stderr") ? STDERR_FILENO : -1;
}

static Status write_directly(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return cannot_write(path, errno);
    int error = write_all(fd, bytes, size);
    if (close(fd) != 0 && !error) error = errno;
    return error ? cannot_write(path, error) : STATUS_OK;
}

/* "a/b.png" -> "a/", "b.png" -> "" : what to put in front of another name in the same folder */
static int folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) + 1 : 0;
}

/* The name does not grow with the file's own, so that it is never too long for the folder. */
static int open_temporary(const char *target, char *name, size_t size, int *fd) /* errno */
{
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(name, size, "%.*s.glide-%ld-%d.tmp", folder_length(target), target, (long)getpid(), i);
        if (n < 0 || (size_t)n >= size) return ENAMETOOLONG;
        *fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*fd >= 0) return 0;
        if (errno != EEXIST) return errno;
    }
    return EEXIST;
}

static void flush_folder(const char *target) /* so that the rename survives a power cut; best effort */
{
    char folder[PATH_MAX];
    int n = folder_length(target);
    snprintf(folder, sizeof folder, "%.*s", n ? n : 1, n ? target : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

/* The open temporary file becomes `target`; closes it. */
static int put_in_place(int fd, const char *name, const char *target) /* errno */
{
    int error = 0;
    if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) error = errno;
    if (close(fd) != 0 && !error) error = errno;
    if (!error && rename(name, target) != 0) error = errno;
    if (!error) flush_folder(target);
    return error;
}

static Status replace_file(const char *path, const char *target, const struct stat *old, const void *bytes,
                           size_t size)
{
    char name[PATH_MAX];
    int fd = -1, error = open_temporary(target, name, sizeof name, &fd);
    if (error) return cannot_write(path, error);
    if (old) (void)fchmod(fd, old->st_mode & 07777);
    error = write_all(fd, bytes, size);
    if (error) close(fd);
    else error = put_in_place(fd, name, target);
    if (!error) return STATUS_OK;
    unlink(name);
    return cannot_write(path, error);
}

Status file_write(const char *path, const void *bytes, size_t size)
{
    int stream = standard_stream(path);
    if (stream >= 0) {
        int error = write_all(stream, bytes, size);
        return error ? cannot_write(stream == STDOUT_FILENO ? "standard output" : path, error) : STATUS_OK;
    }
    struct stat old;
    if (stat(path, &old) != 0) {
        if (errno != ENOENT) return cannot_write(path, errno);
        return replace_file(path, path, NULL, bytes, size);
    }
    if (S_ISDIR(old.st_mode)) return cannot_write(path, EISDIR);
    if (!S_ISREG(old.st_mode)) return write_directly(path, bytes, size);
    if (access(path, W_OK) != 0) return cannot_write(path, errno);
    char *target = realpath(path, NULL); /* the file behind links */
    if (!target) return cannot_write(path, errno);
    Status status = replace_file(path, target, &old, bytes, size);
    free(target);
    return status;
}

/* What `write_it` left under the name may be another file than the one that was made first. */
static Status replace_with(const char *path, const char *target, const struct stat *old,
                           Status (*write_it)(void *ctx, const char *name), void *ctx)
{
    char name[PATH_MAX];
    int fd = -1, error = open_temporary(target, name, sizeof name, &fd);
    if (error) return cannot_write(path, error);
    close(fd);
    Status s = write_it(ctx, name);
    if (s == STATUS_OK) {
        fd = open(name, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && old) (void)fchmod(fd, old->st_mode & 07777);
        error = fd < 0 ? errno : put_in_place(fd, name, target);
        if (!error) return STATUS_OK;
        s = cannot_write(path, error);
    }
    unlink(name);
    return s;
}

Status file_write_with(const char *path, Status (*write_it)(void *ctx, const char *name), void *ctx)
{
    struct stat old;
    if (stat(path, &old) != 0)
        return errno == ENOENT ? replace_with(path, path, NULL, write_it, ctx) : cannot_write(path, errno);
    if (!S_ISREG(old.st_mode)) return status_fail(STATUS_BAD_INPUT, "%s: exists and is not a regular file", path);
    if (access(path, W_OK) != 0) return cannot_write(path, errno);
    char *target = realpath(path, NULL);
    if (!target) return cannot_write(path, errno);
    Status s = replace_with(path, target, &old, write_it, ctx);
    free(target);
    return s;
}

Status file_check_writable(const char *path)
{
    if (standard_stream(path) >= 0) return STATUS_OK;
    struct stat old;
    if (stat(path, &old) == 0) {
        if (S_ISDIR(old.st_mode)) return cannot_write(path, EISDIR);
        if (access(path, W_OK) != 0) return cannot_write(path, errno);
        if (!S_ISREG(old.st_mode)) return STATUS_OK;
    } else if (errno != ENOENT) {
        return cannot_write(path, errno);
    }
    char folder[PATH_MAX];
    int n = folder_length(path);
    if (n >= (int)sizeof folder) return cannot_write(path, ENAMETOOLONG);
    if (!path[n]) return cannot_write(path, *path ? EISDIR : ENOENT);
    snprintf(folder, sizeof folder, "%.*s", n ? n : 1, n ? path : ".");
    if (access(folder, W_OK | X_OK) != 0) {
        int error = errno;
        return status_fail(STATUS_IO, "%s: cannot be written: folder %s: %s", path, folder, strerror(error));
    }
    return STATUS_OK;
}
