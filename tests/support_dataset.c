#include "tests/support_dataset.h"

#include "common/h5file.h"
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

/* label_en, label_ko, tags_en, tags_ko, style, root, tone, group, split, code, licence */
static const char *const rows[TINY_COUNT + TINY_PHOTOS][11] = {
    {"red apple", "빨간 사과", "apple|diet|food|fruit|red|ripe", "건강|과일|사과|음식", "noto", "1F34E", "",
     "food-drink", "train", "1F34E", "Apache-2.0"},
    {"red apple", "빨간 사과", "apple|diet|food|fruit|red|ripe", "건강|과일|사과|음식", "twemoji", "1F34E", "",
     "food-drink", "train", "1F34E", "CC BY 4.0"},
    {"red apple", "빨간 사과", "apple|diet|food|fruit|red|ripe", "건강|과일|사과|음식", "fluent 3d", "1F34E", "",
     "food-drink", "test_pair", "1F34E", "MIT"},
    {"hedgehog", "고슴도치", "animal", "", "noto", "1F994", "", "animals-nature", "train", "1F994", "Apache-2.0"},
    {"hedgehog", "고슴도치", "", "", "twemoji", "1F994", "", "animals-nature", "train", "1F994", "CC BY 4.0"},
    {"firefighter: dark skin tone", "소방관: 검은색 피부", "dark skin tone|fire|firetruck", "소방관|소방차", "noto",
     "1F9D1-200D-1F692", "5", "people-body", "train", "1F9D1-1F3FF-200D-1F692", "Apache-2.0"},
    {"firefighter: light skin tone", "소방관: 하얀 피부", "fire|firetruck|light skin tone", "소방관|소방차", "noto",
     "1F9D1-200D-1F692", "1", "people-body", "train", "1F9D1-1F3FB-200D-1F692", "Apache-2.0"},
    {"firefighter", "소방관", "fire|firetruck", "소방관|소방차", "noto", "1F9D1-200D-1F692", "", "people-body", "train",
     "1F9D1-200D-1F692", "Apache-2.0"},
    {"firefighter: medium skin tone", "소방관: 갈색 피부", "fire|firetruck", "소방관|소방차", "noto",
     "1F9D1-200D-1F692", "3", "people-body", "test_tone", "1F9D1-1F3FD-200D-1F692", "Apache-2.0"},
    {"laptop", "노트북", "computer|office|pc", "컴퓨터", "noto", "1F4BB", "", "objects", "test_concept", "1F4BB",
     "Apache-2.0"},
    {"laptop", "노트북", "computer|office|pc", "컴퓨터", "twemoji", "1F4BB", "", "objects", "test_concept", "1F4BB",
     "CC BY 4.0"},
    {"rocket", "", "launch|space", "", "fluent 3d", "1F680", "", "travel-places", "train", "1F680", "MIT"},
    {"lake", "호수", "", "", "photo", "photo:lake", "", "photo", "train", "", "CC0"},
    {"lake", "호수", "", "", "photo", "photo:lake", "", "photo", "train", "", "CC0"},
    {"lake", "호수", "", "", "photo", "photo:lake", "", "photo", "train", "", "CC0"},
    {"drum", "북", "", "", "photo", "photo:drum", "", "photo", "train", "", "CC0"},
    {"tiger", "호랑이", "", "", "photo", "photo:tiger", "", "photo", "test_photo", "", "CC0"},
    {"tiger", "호랑이", "", "", "photo", "photo:tiger", "", "photo", "test_photo", "", "CC0"},
};

static const char *const columns[11] = {"label_en", "label_ko", "tags_en", "tags_ko", "style",  "root",
                                        "tone",     "group",    "split",   "code",    "licence"};

uint8_t tiny_pixel(int i, int y, int x, int c)
{
    return (uint8_t)(i * 20 + y / 4 + (x / 4) * 3 + c * 50);
}

static int omitted(const TinyFaults *faults, const char *name)
{
    return faults->omit && strcmp(faults->omit, name) == 0;
}

static int tiny_count(const TinyFaults *faults)
{
    return TINY_COUNT + (faults->photos ? TINY_PHOTOS : 0);
}

static Status write_texts(H5File *file, const TinyFaults *faults)
{
    const char *texts[TINY_COUNT + TINY_PHOTOS];
    int count = tiny_count(faults);
    for (int c = 0; c < 11; c++) {
        for (int i = 0; i < count; i++) texts[i] = rows[i][c];
        if (faults->column && strcmp(faults->column, columns[c]) == 0) texts[3] = faults->text;
        int less = faults->one_less && strcmp(faults->one_less, columns[c]) == 0;
        if (!omitted(faults, columns[c])) TRY(h5file_write_texts(file, columns[c], texts, count - less));
    }
    return STATUS_OK;
}

/* (N,side,side,3), every `step`-th pixel of the 256 px pictures; their 4x4 blocks are of one colour. */
static Status write_pictures(H5File *file, const char *name, int count, int side, int step, int chunk)
{
    int64_t row = (int64_t)side * side * 3;
    uint8_t *pixels = malloc((size_t)row);
    if (!pixels) return status_fail(STATUS_NO_MEMORY, "out of memory");
    Status status = h5file_create_rows(file, name, H5KIND_U8, 4, (int64_t[]){count, side, side, 3}, chunk, chunk);
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        uint8_t *p = pixels;
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++)
                for (int c = 0; c < 3; c++) *p++ = tiny_pixel(i, y * step, x * step, c);
        status = h5file_write_rows(file, name, i, 1, row, pixels);
    }
    free(pixels);
    return status;
}

static Status write_all(H5File *file, const TinyFaults *faults)
{
    if (!omitted(faults, "format")) TRY(h5file_set_text(file, "/", "format", DATASET_FORMAT));
    TRY(h5file_set_i64(file, "/", "format_version", faults->version ? faults->version : DATASET_FORMAT_VERSION));
    TRY(h5file_set_text(file, "/", "attribution", "made for a test"));
    TRY(write_texts(file, faults));
    if (!omitted(faults, "images")) TRY(write_pictures(file, "images", tiny_count(faults), DATASET_SIDE, 1, 1));
    return write_pictures(file, "images64", tiny_count(faults), faults->small_side ? faults->small_side : DATASET_SMALL_SIDE, 4, 0);
}

Status tiny_dataset_write(const char *path, const TinyFaults *faults)
{
    TinyFaults none = {0};
    H5File *file;
    TRY(h5file_create(path, &file));
    Status status = write_all(file, faults ? faults : &none);
    if (status == STATUS_OK) return h5file_commit(file);
    h5file_close(file);
    return status;
}
