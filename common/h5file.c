#include "common/h5file_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- errors --- */

/* Keeps the innermost message of the stack; HDF5 quotes the system's message inside its own. */
static herr_t keep_reason(unsigned n, const H5E_error2_t *error, void *data)
{
    (void)n;
    char *reason = data; /* [160] */
    if (reason[0] || !error->desc) return 0;
    const char *quoted = strstr(error->desc, "error message = '");
    if (quoted) {
        quoted += strlen("error message = '");
        snprintf(reason, 160, "%.*s", (int)strcspn(quoted, "'"), quoted);
    } else {
        snprintf(reason, 160, "%s", error->desc);
    }
    return 0;
}

static void current_reason(char reason[160])
{
    reason[0] = '\0';
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_reason, reason);
    if (!reason[0]) snprintf(reason, 160, "HDF5 gave no reason");
}

Status h5_fail(const H5File *file, const char *format, ...)
{
    char what[512], reason[160];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    current_reason(reason);
    return status_fail(file->writing ? STATUS_IO : STATUS_BAD_INPUT, "%s: %s: %s", file->path, what, reason);
}

/* --- open, close --- */

static Status explain_open_failure(const char *path, int64_t bytes)
{
    char reason[160];
    current_reason(reason);
    if (bytes == 0) return status_fail(STATUS_BAD_INPUT, "%s: the file is empty, expected HDF5", path);
    if (H5Fis_hdf5(path) <= 0) return status_fail(STATUS_BAD_INPUT, "%s: not an HDF5 file", path);
    if (!strncmp(reason, "truncated file", 14))
        return status_fail(STATUS_BAD_INPUT, "%s: the file is truncated: only %lld bytes are there", path, (long long)bytes);
    return status_fail(STATUS_BAD_INPUT, "%s: damaged HDF5 file: %s", path, reason);
}

Status h5file_open(const char *path, H5File **out)
{
    H5_QUIET;
    *out = NULL;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block us */
    if (fd < 0 || fstat(fd, &st) != 0) {
        int error = errno;
        if (fd >= 0) close(fd);
        return status_fail(error == ENOENT ? STATUS_BAD_INPUT : STATUS_IO, "%s: %s", path, strerror(error));
    }
    close(fd);
    if (!S_ISREG(st.st_mode)) return status_fail(STATUS_BAD_INPUT, "%s: not a regular file, expected an HDF5 file", path);
    H5File *file = calloc(1, sizeof *file);
    if (!file || !(file->path = strdup(path))) {
        free(file);
        return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    }
    file->part_fd = -1;
    file->bytes = st.st_size;
    file->id = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file->id < 0) {
        Status status = explain_open_failure(path, st.st_size);
        h5file_close(file);
        return status;
    }
    *out = file;
    return STATUS_OK;
}

Status h5file_map(const H5File *file, void **data, size_t *size)
{
    H5_QUIET;
    int *fd = NULL; /* HDF5's own, so that it is the same file whatever happened to its name since */
    struct stat st;
    if (H5Fget_vfd_handle(file->id, H5P_DEFAULT, (void **)&fd) < 0 || !fd || fstat(*fd, &st) != 0)
        return h5_fail(file, "cannot be mapped");
    *size = (size_t)st.st_size;
    *data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, *fd, 0);
    if (*data != MAP_FAILED) return STATUS_OK;
    *data = NULL;
    return status_fail(STATUS_NO_MEMORY, "%s: cannot be mapped: %s", file->path, strerror(errno));
}

/* The temporary's own lock (of the kind that belongs to the open file, which HDF5 does not use) keeps a second writer from
 * truncating it; the inode is compared because the first writer may have renamed it between our open and our lock. */
static Status lock_part(H5File *file)
{
    struct stat st, old, named;
    if (stat(file->path, &old) == 0) {
        if (!S_ISREG(old.st_mode))
            return status_fail(STATUS_BAD_INPUT, "%s: exists and is not a regular file", file->path);
        if (access(file->path, W_OK) != 0)
            return status_fail(STATUS_IO, "%s: cannot write: %s", file->path, strerror(errno));
    }
    file->part_fd = open(file->part_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (file->part_fd < 0) return status_fail(STATUS_IO, "%s: cannot write: %s", file->path, strerror(errno));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool locked = fcntl(file->part_fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
    if (!locked || fstat(file->part_fd, &st) != 0 || stat(file->part_path, &named) != 0 || st.st_ino != named.st_ino) {
        close(file->part_fd);
        file->part_fd = -1;
        return status_fail(STATUS_IO, "%s: another process is writing %s", file->path, file->part_path);
    }
    return STATUS_OK;
}

/* Large datasets start where a map of the file can use them as they are. */
enum { ALIGNED_FROM = 4096, ALIGNMENT = 64 }; /* bytes */

static Status create_part(H5File *file)
{
    H5Id properties = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_link_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    H5Pset_attr_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    H5Pset_obj_track_times(properties, false); /* same contents, same bytes */
    H5Id access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_alignment(access, ALIGNED_FROM, ALIGNMENT);
    file->id = H5Fcreate(file->part_path, H5F_ACC_TRUNC, properties, access);
    return file->id < 0 ? h5_fail(file, "cannot write") : STATUS_OK;
}

Status h5file_create(const char *path, H5File **out)
{
    H5_QUIET;
    *out = NULL;
    H5File *file = calloc(1, sizeof *file);
    if (!file) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    file->id = -1;
    file->part_fd = -1;
    file->writing = true;
    file->path = strdup(path);
    file->final_path = realpath(path, NULL);
    if (!file->final_path) file->final_path = strdup(path);
    if (!file->final_path || asprintf(&file->part_path, "%s.part", file->final_path) < 0) file->part_path = NULL;
    Status status = file->path && file->part_path ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    if (status == STATUS_OK) status = lock_part(file);
    if (status == STATUS_OK) status = create_part(file);
    if (status != STATUS_OK) {
        h5file_close(file);
        return status;
    }
    *out = file;
    return STATUS_OK;
}

static void free_file(H5File *file)
{
    if (file->part_fd >= 0) close(file->part_fd);
    free(file->part_path);
    free(file->final_path);
    free(file->path);
    free(file);
}

/* HDF5 writes out what it cached when a file is closed, and corrupts its own memory when that fails (1.10.8, full disk).
 * So an abandoned file is first made to write to a scrap file in memory. */
static void abandon(H5File *file)
{
    int *fd = NULL;
    if (H5Fget_vfd_handle(file->id, H5P_DEFAULT, (void **)&fd) >= 0 && fd) {
        int scrap = memfd_create("abandoned", MFD_CLOEXEC);
        if (scrap >= 0) {
            dup2(scrap, *fd);
            close(scrap);
        }
    }
    H5Fclose(file->id);
}

void h5file_close(H5File *file)
{
    if (!file) return;
    H5_QUIET;
    if (file->id >= 0) {
        if (file->writing) abandon(file);
        else H5Fclose(file->id);
    }
    if (file->part_fd >= 0) unlink(file->part_path); /* only if the lock, and so the file, is ours */
    free_file(file);
}

/* A rename lasts only once the folder itself is on the disk. */
static Status sync_folder(const char *path)
{
    char *folder = strdup(path);
    if (!folder) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    bool failed = fd >= 0 && fsync(fd) != 0 && errno != EINVAL && errno != EBADF; /* some file systems cannot */
    Status status = failed ? status_fail(STATUS_IO, "%s: cannot flush its folder: %s", path, strerror(errno)) : STATUS_OK;
    if (fd >= 0) close(fd);
    return status;
}

static Status commit(H5File *file, bool to_disk)
{
    H5_QUIET;
    if (H5Fflush(file->id, H5F_SCOPE_GLOBAL) < 0) {
        Status status = h5_fail(file, "cannot write");
        h5file_close(file);
        return status;
    }
    Status status = H5Fclose(file->id) < 0 ? h5_fail(file, "cannot write") : STATUS_OK;
    file->id = -1;
    if (status == STATUS_OK && to_disk && fsync(file->part_fd) != 0)
        status = status_fail(STATUS_IO, "%s: cannot write: %s", file->path, strerror(errno));
    if (status == STATUS_OK && rename(file->part_path, file->final_path) != 0)
        status = status_fail(STATUS_IO, "%s: cannot rename %s to it: %s", file->path, file->part_path, strerror(errno));
    if (status != STATUS_OK) {
        h5file_close(file);
        return status;
    }
    if (to_disk) status = sync_folder(file->final_path);
    free_file(file);
    return status;
}

Status h5file_commit(H5File *file)
{
    return commit(file, true);
}

Status h5file_commit_cached(H5File *file)
{
    return commit(file, false);
}

const char *h5file_path(const H5File *file)
{
    return file->path;
}

/* --- names --- */

const char *h5_clean(const char *name)
{
    while (*name == '/') name++;
    return *name ? name : ".";
}

/* Every component must be an ordinary (hard) link: a soft or external one could lead to any file. */
static bool path_exists(const H5File *file, const char *name)
{
    char part[1024];
    size_t length = strlen(name);
    if (length >= sizeof part) return false;
    for (size_t i = 1; i <= length; i++) {
        if (name[i] != '/' && name[i] != '\0') continue;
        memcpy(part, name, i);
        part[i] = '\0';
        H5L_info_t info;
        if (H5Lexists(file->id, part, H5P_DEFAULT) <= 0) return false;
        if (H5Lget_info(file->id, part, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD) return false;
    }
    return true;
}

static bool object_is(const H5File *file, const char *name, H5O_type_t type)
{
    H5_QUIET;
    name = h5_clean(name);
    H5O_info_t info;
    if (strcmp(name, ".") != 0 && !path_exists(file, name)) return false;
    return H5Oget_info_by_name2(file->id, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0 && info.type == type;
}

bool h5file_has_dataset(const H5File *file, const char *name)
{
    return object_is(file, name, H5O_TYPE_DATASET);
}

bool h5file_has_group(const H5File *file, const char *name)
{
    return object_is(file, name, H5O_TYPE_GROUP);
}

Status h5_open_dataset(const H5File *file, const char *name, hid_t *out)
{
    H5O_info_t info;
    *out = -1;
    if (!path_exists(file, h5_clean(name)))
        return status_fail(STATUS_BAD_INPUT, "%s: there is no dataset %s", file->path, name);
    if (H5Oget_info_by_name2(file->id, h5_clean(name), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0 || info.type != H5O_TYPE_DATASET)
        return status_fail(STATUS_BAD_INPUT, "%s: %s is not a dataset", file->path, name);
    *out = H5Dopen2(file->id, h5_clean(name), H5P_DEFAULT);
    return *out < 0 ? h5_fail(file, "cannot open dataset %s", name) : STATUS_OK;
}

Status h5_open_object(const H5File *file, const char *name, hid_t *out)
{
    *out = -1;
    if (strcmp(h5_clean(name), ".") != 0 && !path_exists(file, h5_clean(name)))
        return status_fail(STATUS_BAD_INPUT, "%s: there is no group or dataset %s", file->path, name);
    *out = H5Oopen(file->id, h5_clean(name), H5P_DEFAULT);
    return *out < 0 ? h5_fail(file, "cannot open %s", name) : STATUS_OK;
}

/* --- groups --- */

static Status make_one_group(H5File *file, const char *name)
{
    if (h5file_has_group(file, name)) return STATUS_OK;
    H5Id properties = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_link_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    H5Pset_attr_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    H5Pset_obj_track_times(properties, false); /* same contents, same bytes */
    H5Id group = H5Gcreate2(file->id, name, H5P_DEFAULT, properties, H5P_DEFAULT);
    return group < 0 ? h5_fail(file, "cannot make group %s", name) : STATUS_OK;
}

static Status make_groups(H5File *file, const char *name, bool last_too)
{
    char part[1024];
    name = h5_clean(name);
    size_t length = strlen(name);
    if (length >= sizeof part) return status_fail(STATUS_BAD_INPUT, "%s: name too long: %.40s...", file->path, name);
    for (size_t i = 1; i <= length; i++) {
        if (name[i] != '/' && !(name[i] == '\0' && last_too)) continue;
        memcpy(part, name, i);
        part[i] = '\0';
        TRY(make_one_group(file, part));
    }
    return STATUS_OK;
}

Status h5_make_parents(H5File *file, const char *name)
{
    return make_groups(file, name, false);
}

Status h5file_make_group(H5File *file, const char *name)
{
    H5_QUIET;
    assert(file->writing);
    return make_groups(file, name, true);
}

/* --- lists of names --- */

Status h5_texts_add(H5Texts *texts, const char *text, size_t length)
{
    if (texts->count == INT32_MAX) return status_fail(STATUS_NO_MEMORY, "too many strings");
    if (texts->capacity - texts->length <= length) {
        size_t capacity = 2 * (texts->length + length) + 256;
        char *bytes = realloc(texts->bytes, capacity);
        if (!bytes) return status_fail(STATUS_NO_MEMORY, "out of memory for %zu bytes of strings", capacity);
        texts->bytes = bytes;
        texts->capacity = capacity;
    }
    memcpy(texts->bytes + texts->length, text, length);
    texts->bytes[texts->length + length] = '\0';
    texts->length += length + 1;
    texts->count++;
    return STATUS_OK;
}

Status h5_texts_finish(H5Texts *texts, char ***out, int *count)
{
    size_t head = ((size_t)texts->count + 1) * sizeof(char *);
    char **block = malloc(head + texts->length);
    if (block) {
        char *bytes = (char *)block + head;
        if (texts->length) memcpy(bytes, texts->bytes, texts->length);
        for (int i = 0; i < texts->count; i++, bytes += strlen(bytes) + 1) block[i] = bytes;
        block[texts->count] = NULL;
        *count = texts->count;
    }
    free(texts->bytes);
    *texts = (H5Texts){0};
    *out = block;
    return block ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a list of strings");
}

typedef struct ListWalk {
    const H5File *file;
    char path[1024]; /* of the group being listed, then of its members */
    size_t root;     /* length of the part that is not reported */
    unsigned what;
    int depth, visits;
    Status status;
    H5Texts texts;
} ListWalk;

static Status list_group(ListWalk *walk, size_t length);

static herr_t list_one(hid_t group, const char *name, const H5L_info_t *link, void *data)
{
    ListWalk *walk = data;
    H5O_info_t info;
    if (link->type != H5L_TYPE_HARD) return 0;
    if (++walk->visits > 1 << 22) { /* hard links can name a group many times over */
        walk->status = status_fail(STATUS_BAD_INPUT, "%s: more than %d objects", walk->file->path, 1 << 22);
        return 1;
    }
    if (H5Oget_info_by_name2(group, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) {
        walk->status = h5_fail(walk->file, "cannot read %s", name);
        return 1;
    }
    size_t before = strlen(walk->path), room = sizeof walk->path - before;
    bool is_group = info.type == H5O_TYPE_GROUP, is_dataset = info.type == H5O_TYPE_DATASET;
    size_t used = (size_t)snprintf(walk->path + before, room, "%s%s", before ? "/" : "", name);
    if (used >= room) {
        walk->path[before] = '\0';
        walk->status = status_fail(STATUS_BAD_INPUT, "%s: name too long: %.40s...", walk->file->path, name);
        return 1;
    }
    const char *reported = walk->path + walk->root;
    if ((is_group && (walk->what & H5LIST_GROUPS)) || (is_dataset && (walk->what & H5LIST_DATASETS)))
        walk->status = h5_texts_add(&walk->texts, reported, strlen(reported));
    if (walk->status == STATUS_OK && is_group && (walk->what & H5LIST_RECURSE))
        walk->status = list_group(walk, before + used);
    walk->path[before] = '\0';
    return walk->status == STATUS_OK ? 0 : 1;
}

/* List the group whose path is path[0..length). */
static Status list_group(ListWalk *walk, size_t length)
{
    const char *path = length ? walk->path : ".";
    if (walk->depth == 16) /* hard links can form a ring */
        return status_fail(STATUS_BAD_INPUT, "%s: groups nested more than 16 deep", walk->file->path);
    H5Id group = H5Gopen2(walk->file->id, path, H5P_DEFAULT);
    if (group < 0) return h5_fail(walk->file, "cannot open group %s", path);
    H5Id properties = H5Gget_create_plist(group);
    unsigned order = 0;
    H5Pget_link_creation_order(properties, &order);
    H5G_info_t info = {.storage_type = H5G_STORAGE_TYPE_COMPACT};
    H5Gget_info(group, &info);
    hsize_t position = 0;
    walk->depth++;
    /* Large groups in the order of their index, which is that of creation or of names: sorting them would go through a table
     * that HDF5 (1.10.8) frees uninitialised when the group is damaged. */
    herr_t error = H5Literate(group, order & H5P_CRT_ORDER_TRACKED ? H5_INDEX_CRT_ORDER : H5_INDEX_NAME,
                              info.storage_type == H5G_STORAGE_TYPE_COMPACT ? H5_ITER_INC : H5_ITER_NATIVE, &position, list_one,
                              walk);
    walk->depth--;
    if (error < 0 && walk->status == STATUS_OK) return h5_fail(walk->file, "cannot list group %s", path);
    return walk->status;
}

Status h5file_list(const H5File *file, const char *group, unsigned what, char ***names, int *count)
{
    H5_QUIET;
    *names = NULL;
    *count = 0;
    if (!h5file_has_group(file, group))
        return status_fail(STATUS_BAD_INPUT, "%s: there is no group %s", file->path, group);
    ListWalk walk = {.file = file, .what = what};
    const char *clean = h5_clean(group);
    size_t length = strcmp(clean, ".") ? strlen(clean) : 0; /* has_group: it is shorter than walk.path */
    memcpy(walk.path, clean, length);
    walk.root = length ? length + 1 : 0;
    Status status = list_group(&walk, length);
    if (status == STATUS_OK) return h5_texts_finish(&walk.texts, names, count);
    free(walk.texts.bytes);
    return status;
}
