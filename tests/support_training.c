#include "tests/support_training.h"

#include "common/h5file.h"
#include "tests/support_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool equal(const float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != y[i]) return false;
    return true;
}

static void assert_same_values(const char *a, const char *b, bool bits)
{
    H5File *fa, *fb;
    char **names;
    int count, compared = 0;
    OK(h5file_open(a, &fa));
    OK(h5file_open(b, &fb));
    OK(h5file_list(fa, "/", H5LIST_DATASETS | H5LIST_RECURSE, &names, &count));
    for (int i = 0; i < count; i++) {
        H5Info info;
        float *x, *y;
        OK(h5file_stat(fa, names[i], &info));
        if (info.kind != H5KIND_F32 && info.kind != H5KIND_F16) continue;
        OK(h5file_load_f32(fa, names[i], &x, &info));
        OK(h5file_load_f32(fb, names[i], &y, NULL));
        if (bits ? memcmp(x, y, (size_t)info.size * sizeof *x) != 0 : !equal(x, y, info.size)) fail_msg("%s differs", names[i]);
        free(x);
        free(y);
        compared++;
    }
    assert_true(compared > (bits ? 100 : 20));
    free(names);
    h5file_close(fa);
    h5file_close(fb);
}

void assert_same_checkpoint(const char *a, const char *b)
{
    assert_same_values(a, b, true);
}

void assert_same_weights(const char *a, const char *b)
{
    assert_same_values(a, b, false);
}

double history_at(const char *csv, int step, int column)
{
    char line[256];
    FILE *f = fopen(csv, "r");
    double found = -1;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char *field = line;
        if (atoi(line) != step) continue;
        for (int i = 0; i < column; i++) field = strchr(field, ',') + 1;
        found = atof(field);
    }
    fclose(f);
    assert_true(found >= 0);
    return found;
}
