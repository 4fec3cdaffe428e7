#include "tests/support_shapes.h"

#include "common/h5file.h"
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

enum { COUNT = SHAPES_CONCEPTS * SHAPES_STYLES };

/* label, root, group: the roots are in data/subgroups.tsv, each in a subgroup of its own, but for the last */
static const char *const concepts[SHAPES_CONCEPTS][3] = {
    {"red apple", "1F34E", "food-drink"}, {"hedgehog", "1F994", "animals-nature"}, {"laptop", "1F4BB", "objects"},
    {"rocket", "1F680", "travel-places"}, {"pizza", "1F355", "food-drink"},        {"snowman", "26C4", "travel-places"},
    {"guitar", "1F3B8", "objects"},       {"nothing known", "ABCDE", "symbols"}};
static const uint8_t colours[SHAPES_CONCEPTS][3] = {{220, 20, 20}, {120, 80, 40}, {40, 40, 40},   {30, 60, 220},
                                                    {240, 200, 0}, {0, 200, 220}, {160, 30, 200}, {30, 180, 40}};
static const char *const styles[SHAPES_STYLES] = {"noto", "twemoji", "emojione", "fxemoji", "fluent 3d"};

/* Is the pixel of the shape? Coordinates in [-1,1]. */
static int inside(int style, float y, float x)
{
    switch (style) {
    case 0: return x * x + y * y < 0.5f;
    case 1: return x > -0.6f && x < 0.6f && y > -0.6f && y < 0.6f;
    case 2: return x > -0.8f && x < 0.8f && y > -0.2f && y < 0.2f;
    case 3: return y > -0.8f && y < 0.8f && x > -0.2f && x < 0.2f;
    default: return x * x + y * y < 0.5f && x * x + y * y > 0.2f;
    }
}

static void draw(int i, int side, uint8_t *rgb)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            for (int c = 0; c < 3; c++) {
                float v = 2 * ((float)y + 0.5f) / (float)side - 1, u = 2 * ((float)x + 0.5f) / (float)side - 1;
                rgb[(y * side + x) * 3 + c] = inside(i % SHAPES_STYLES, v, u) ? colours[i / SHAPES_STYLES][c] : 255;
            }
}

static Status write_pictures(H5File *file, const char *name, int side)
{
    int64_t row = (int64_t)side * side * 3;
    uint8_t *rgb = malloc((size_t)row);
    if (!rgb) return status_fail(STATUS_NO_MEMORY, "out of memory");
    Status s =
        h5file_create_rows(file, name, H5KIND_U8, 4, (int64_t[]){COUNT, side, side, 3}, side == DATASET_SIDE, side == DATASET_SIDE);
    for (int i = 0; i < COUNT && s == STATUS_OK; i++) {
        draw(i, side, rgb);
        s = h5file_write_rows(file, name, i, 1, row, rgb);
    }
    free(rgb);
    return s;
}

static Status write_column(H5File *file, const char *name, const char *const *of_concepts, int step, const char *constant)
{
    const char *texts[COUNT];
    for (int i = 0; i < COUNT; i++) texts[i] = of_concepts ? of_concepts[i / SHAPES_STYLES * step] : constant;
    return h5file_write_texts(file, name, texts, COUNT);
}

static Status write_all(H5File *file)
{
    const char *style[COUNT], *split[COUNT];
    for (int i = 0; i < COUNT; i++) {
        style[i] = styles[i % SHAPES_STYLES];
        split[i] = i % 7 == 3 ? "test_pair" : "train";
    }
    TRY(h5file_set_text(file, "/", "format", DATASET_FORMAT));
    TRY(h5file_set_i64(file, "/", "format_version", DATASET_FORMAT_VERSION));
    TRY(write_column(file, "label_en", &concepts[0][0], 3, NULL));
    TRY(write_column(file, "root", &concepts[0][1], 3, NULL));
    TRY(write_column(file, "code", &concepts[0][1], 3, NULL));
    TRY(write_column(file, "group", &concepts[0][2], 3, NULL));
    TRY(write_column(file, "label_ko", NULL, 0, ""));
    TRY(write_column(file, "tags_en", NULL, 0, ""));
    TRY(write_column(file, "tags_ko", NULL, 0, ""));
    TRY(write_column(file, "tone", NULL, 0, ""));
    TRY(write_column(file, "licence", NULL, 0, "CC0"));
    TRY(h5file_write_texts(file, "style", style, COUNT));
    TRY(h5file_write_texts(file, "split", split, COUNT));
    TRY(write_pictures(file, "images", DATASET_SIDE));
    return write_pictures(file, "images64", DATASET_SMALL_SIDE);
}

Status shapes_dataset_write(const char *path)
{
    H5File *file;
    TRY(h5file_create(path, &file));
    Status s = write_all(file);
    if (s == STATUS_OK) return h5file_commit(file);
    h5file_close(file);
    return s;
}
