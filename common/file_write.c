#include "common/file_write.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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

/* Whether the new file is this writer's alone: file_remove_stale() takes only what it can lock itself. Where the folder's file
 * system has no locks, nothing is ever taken. */
static bool hold(int fd)
{
    struct stat st;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) return errno != EWOULDBLOCK;
    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* The name does not grow with the file's own, so that it is never too long for the folder. `ending`: "tmp", of files that are
 * locked while they are written, or "part", of those that a library opens by their names. */
static int open_temporary(const char *target, const char *ending, char *name, size_t size, int *fd) /* errno */
{
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(name, size, "%.*s.glide-%ld-%d.%s", folder_length(target), target, (long)getpid(), i, ending);
        if (n < 0 || (size_t)n >= size) return ENAMETOOLONG;
        *fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*fd < 0 && errno != EEXIST) return errno;
        if (*fd < 0) continue;
        if (*ending != 't' || hold(*fd)) return 0;
        close(*fd); /* it was swept away before it was locked */
    }
    return EBUSY;
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

/* Where there is no file of that name, which the file system tells in the same step; some know one way only. */
static int rename_new(const char *name, const char *target) /* errno; EEXIST */
{
    if (renameat2(AT_FDCWD, name, AT_FDCWD, target, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return errno;
    if (link(name, target) != 0) return errno;
    unlink(name);
    return 0;
}

/* What was there is replaced, or kept. */
typedef enum { REPLACE, KEEP } Older;

/* The open temporary file becomes `target`, or is gone; closed, which ends its lock, only then. */
static int put_in_place(int fd, const char *name, const char *target, Older older) /* errno */
{
    int error = 0;
    if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) error = errno;
    if (!error && older == KEEP) error = rename_new(name, target);
    else if (!error && rename(name, target) != 0) error = errno;
    if (!error) flush_folder(target);
    if (error) unlink(name);
    close(fd); /* what was written is on the disk already */
    return error;
}

/* old: of the file whose permissions it takes over; NULL: none */
static int write_and_place(const char *target, const struct stat *old, const void *bytes, size_t size, Older older) /* errno */
{
    char name[PATH_MAX];
    int fd = -1, error = open_temporary(target, "tmp", name, sizeof name, &fd);
    if (error) return error;
    if (old) (void)fchmod(fd, old->st_mode & 07777);
    error = write_all(fd, bytes, size);
    if (!error) return put_in_place(fd, name, target, older);
    unlink(name);
    close(fd);
    return error;
}

static Status replace_file(const char *path, const char *target, const struct stat *old, const void *bytes, size_t size)
{
    int error = write_and_place(target, old, bytes, size, REPLACE);
    return error ? cannot_write(path, error) : STATUS_OK;
}

Status file_write_new(const char *path, const void *bytes, size_t size, bool *taken)
{
    struct stat old;
    int error = lstat(path, &old) == 0 ? EEXIST : write_and_place(path, NULL, bytes, size, KEEP);
    *taken = error == EEXIST;
    return error && !*taken ? cannot_write(path, error) : STATUS_OK;
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
    int fd = -1, error = open_temporary(target, "part", name, sizeof name, &fd);
    if (error) return cannot_write(path, error);
    close(fd);
    Status s = write_it(ctx, name);
    fd = s == STATUS_OK ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        if (s == STATUS_OK) s = cannot_write(path, errno);
        unlink(name);
        return s;
    }
    if (old) (void)fchmod(fd, old->st_mode & 07777);
    error = put_in_place(fd, name, target, REPLACE);
    return error ? cannot_write(path, error) : STATUS_OK;
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

/* --- what killed programs left ---------------------------------------------------------------------- */

static bool digits(const char **at)
{
    const char *from = *at;
    while (isdigit((unsigned char)**at)) ++*at;
    return *at > from;
}

static bool is_temporary(const char *name) /* ".glide-PID-N.tmp" */
{
    const char *at = name + 7;
    return !strncmp(name, ".glide-", 7) && digits(&at) && *at++ == '-' && digits(&at) && !strcmp(at, ".tmp");
}

/* Only under its lock, and only if the name still means the file that is locked: its writer may be done since it was opened. */
static bool remove_stale(int folder, const char *name)
{
    struct stat held, named;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return false;
    bool removed = fstat(fd, &held) == 0 && S_ISREG(held.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
                   fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && named.st_dev == held.st_dev &&
                   named.st_ino == held.st_ino && unlinkat(folder, name, 0) == 0;
    close(fd);
    return removed;
}

int file_remove_stale(const char *folder)
{
    DIR *dir = opendir(folder);
    int removed = 0;
    if (!dir) return 0;
    for (struct dirent *e; (e = readdir(dir));) removed += is_temporary(e->d_name) && remove_stale(dirfd(dir), e->d_name);
    closedir(dir);
    return removed;
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
