#include "glide/ablation/study_journal.h"

#include "common/file_write.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER "glide-ablation-journal 1\n"
#define TIMINGS_HEADER "condition,block,pictures,seconds\n"

enum { MOST_BYTES = 1 << 28, LINE = 96 };

static Status refused(const char *path)
{
    return status_fail(STATUS_IO, "%s: cannot be written: %s", path, strerror(errno));
}

const char *study_shard_name(int condition, int block, char *name, size_t size)
{
    snprintf(name, size, "cells/c%03d-b%04d.h5", condition, block);
    return name;
}

/* --- reading -------------------------------------------------------------------------------------------------- */

static Status read_whole(const char *path, char **text, size_t *size)
{
    struct stat st;
    *text = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return (*text = calloc(1, 1)) ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory");
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size > MOST_BYTES) {
        if (fd >= 0) close(fd);
        return status_fail(STATUS_IO, "%s: cannot be read", path);
    }
    *text = calloc(1, (size_t)st.st_size + 1);
    while (*text && *size < (size_t)st.st_size) {
        ssize_t n = read(fd, *text + *size, (size_t)st.st_size - *size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        *size += (size_t)n;
    }
    close(fd);
    return *text ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory", path);
}

/* A whole line about a shard of this study: written again it is the same. */
static bool take_line(StudyJournal *j, const char *line, size_t length)
{
    char again[LINE], name[40];
    int c, b, n;
    unsigned long long hash;
    if (length >= LINE || sscanf(line, "cells/c%d-b%d.h5 %llx", &c, &b, &hash) != 3) return false;
    if (c < 0 || c >= j->conditions || b < 0 || b >= j->blocks) return false;
    n = snprintf(again, sizeof again, "%s %016llx\n", study_shard_name(c, b, name, sizeof name), hash);
    if ((size_t)n != length || memcmp(again, line, length) != 0) return false;
    j->done[c * j->blocks + b] = true;
    j->hash[c * j->blocks + b] = hash;
    return true;
}

/* *good: how much of it can be read. */
static Status read_lines(StudyJournal *j, size_t *good)
{
    char *text;
    size_t size;
    TRY(read_whole(j->path, &text, &size));
    size_t header = strlen(HEADER), at = size >= header && !memcmp(text, HEADER, header) ? header : 0;
    bool other = at == 0 && strncmp(HEADER, text, size < header ? size : header) != 0;
    for (const char *end; at > 0 && (end = memchr(text + at, '\n', size - at)) != NULL; at = (size_t)(end + 1 - text))
        if (!take_line(j, text + at, (size_t)(end + 1 - (text + at)))) break;
    *good = at;
    free(text);
    return other ? status_fail(STATUS_BAD_INPUT, "%s: is no journal of a study", j->path) : STATUS_OK;
}

static Status read_timings(StudyJournal *j)
{
    char *text, *saved;
    size_t size;
    TRY(read_whole(j->timings, &text, &size));
    for (char *line = strtok_r(text, "\n", &saved); line; line = strtok_r(NULL, "\n", &saved)) {
        int c, b, pictures;
        double seconds;
        if (sscanf(line, "%d,%d,%d,%lf", &c, &b, &pictures, &seconds) != 4) continue;
        if (c >= 0 && c < j->conditions && b >= 0 && b < j->blocks) j->seconds[c * j->blocks + b] = seconds;
    }
    free(text);
    return STATUS_OK;
}

static Status begin(const char *folder, const StudySpec *s, StudyJournal *j, size_t *good)
{
    *j = (StudyJournal){.fd = -1, .conditions = s->conditions, .blocks = study_blocks(s)};
    size_t shards = (size_t)j->conditions * (size_t)j->blocks;
    j->done = calloc(shards, sizeof *j->done);
    j->hash = calloc(shards, sizeof *j->hash);
    j->seconds = calloc(shards, sizeof *j->seconds);
    bool ok = asprintf(&j->path, "%s/journal", folder) >= 0 && asprintf(&j->timings, "%s/timings.csv", folder) >= 0;
    if (!ok || !j->done || !j->hash || !j->seconds) return status_fail(STATUS_NO_MEMORY, "out of memory for a journal");
    for (size_t i = 0; i < shards; i++) j->seconds[i] = NAN;
    TRY(read_lines(j, good));
    return read_timings(j);
}

Status study_journal_read(const char *folder, const StudySpec *s, StudyJournal *j)
{
    size_t good;
    Status status = begin(folder, s, j, &good);
    if (status != STATUS_OK) study_journal_close(j);
    return status;
}

void study_journal_close(StudyJournal *j)
{
    if (j->fd >= 0) close(j->fd);
    free(j->path);
    free(j->timings);
    free(j->done);
    free(j->hash);
    free(j->seconds);
    *j = (StudyJournal){.fd = -1};
}

/* --- writing -------------------------------------------------------------------------------------------------- */

/* At the end, all of it or nothing; `flush`: and on the disk. */
static Status append(int fd, const char *path, const char *text, bool flush)
{
    off_t before = lseek(fd, 0, SEEK_END);
    size_t size = strlen(text);
    ssize_t n;
    do n = write(fd, text, size);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)size && (!flush || fdatasync(fd) == 0 || errno == EINVAL)) return STATUS_OK;
    if (n >= 0 && n < (ssize_t)size) errno = ENOSPC;
    Status s = refused(path);
    if (before >= 0 && ftruncate(fd, before) != 0) return s; /* reading cuts it off then */
    return s;
}

/* Only when there is something to be changed: each time waits for the disk. */
static Status replace_text(const char *path, const char *text, size_t size)
{
    char *old;
    size_t old_size;
    TRY(read_whole(path, &old, &old_size));
    bool same = old_size == size && !memcmp(old, text, size);
    free(old);
    return same ? STATUS_OK : file_write(path, text, size);
}

/* Lines of what the journal has, so that none is left of a shard that was lost. */
static Status rewrite_timings(StudyJournal *j, const StudySpec *s)
{
    char *text = malloc(strlen(TIMINGS_HEADER) + (size_t)j->conditions * (size_t)j->blocks * LINE + 1), *at = text;
    if (!text) return status_fail(STATUS_NO_MEMORY, "%s: out of memory", j->timings);
    at += sprintf(at, TIMINGS_HEADER);
    for (int b = 0; b < j->blocks; b++) {
        for (int c = 0; c < j->conditions; c++) {
            int first, i = c * j->blocks + b;
            if (j->done[i] && !isnan(j->seconds[i]))
                at += sprintf(at, "%d,%d,%d,%.6g\n", c, b, study_block_rows(s, b, &first), j->seconds[i]);
        }
    }
    Status status = replace_text(j->timings, text, (size_t)(at - text));
    free(text);
    return status;
}

static Status take_over(StudyJournal *j, const StudySpec *s, size_t good)
{
    if (ftruncate(j->fd, (off_t)good) != 0) return refused(j->path);
    if (good == 0) TRY(append(j->fd, j->path, HEADER, true));
    return rewrite_timings(j, s);
}

Status study_journal_open(const char *folder, const StudySpec *s, StudyJournal *j)
{
    size_t good = 0;
    char path[4096];
    snprintf(path, sizeof path, "%s/journal", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    *j = (StudyJournal){.fd = -1};
    if (fd < 0) return refused(path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(fd);
        return status_fail(STATUS_IO, "%s: another glide ablate is working on this study", folder);
    }
    Status status = begin(folder, s, j, &good);
    j->fd = fd;
    if (status == STATUS_OK) status = take_over(j, s, good);
    if (status != STATUS_OK) study_journal_close(j);
    return status;
}

Status study_journal_add(StudyJournal *j, int condition, int block, int pictures, uint64_t hash, double seconds)
{
    char line[LINE], name[40];
    int i = condition * j->blocks + block;
    snprintf(line, sizeof line, "%d,%d,%d,%.6g\n", condition, block, pictures, seconds);
    int fd = open(j->timings, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return refused(j->timings);
    Status s = append(fd, j->timings, line, false);
    close(fd);
    TRY(s);
    snprintf(line, sizeof line, "%s %016llx\n", study_shard_name(condition, block, name, sizeof name), (unsigned long long)hash);
    if (!j->done[i]) TRY(append(j->fd, j->path, line, true));
    j->done[i] = true;
    j->hash[i] = hash;
    j->seconds[i] = seconds;
    return STATUS_OK;
}
