#include "glide/cli_suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define WORD_MAX 63

static int fold(char c)
{
    return tolower((unsigned char)c);
}

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

int cli_distance(const char *a, const char *b)
{
    int rows[3][WORD_MAX + 1]; /* of the table: the one before last, the last, this one */
    int *before = rows[0], *last = rows[1], *now = rows[2];
    int na = (int)strnlen(a, WORD_MAX), nb = (int)strnlen(b, WORD_MAX);
    for (int j = 0; j <= nb; j++) last[j] = j;
    for (int i = 1; i <= na; i++) {
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (fold(a[i - 1]) != fold(b[j - 1])));
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]) &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        int *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[nb];
}

const char *cli_nearest(const char *word, const char *const *names, int count)
{
    size_t n = strlen(word);
    int forgiven = n <= 3 ? 1 : n <= 7 ? 2 : 3, best = 1000;
    const char *found = NULL;
    for (int i = 0; i < count; i++) {
        int distance = cli_distance(word, names[i]), score = 1000;
        if (distance <= forgiven && distance < (int)strlen(names[i])) score = 2 * distance;
        /* a part of the name, as "upsample" of "no-upsample", is as good as two and a half mistakes */
        bool part = (n >= 2 && !strncasecmp(names[i], word, n)) || (n >= 4 && strcasestr(names[i], word));
        if (part && score > 5) score = 5;
        if (score >= best) continue;
        best = score;
        found = names[i];
    }
    return found;
}
