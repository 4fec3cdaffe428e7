#include "glide/serve/serve_compare.h"

#include "common/file_write.h"
#include "glide/serve/serve_json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- ratings ---------------------------------------------------------------------------------------- */

enum { ROUNDS = 400 };

/* Strengths by minorisation-maximisation (Hunter, Annals of Statistics 32, 2004). */
static void strengths(const CompareGame *games, int count, int n, double *gamma)
{
    double wins[COMPARE_SETTINGS], load[COMPARE_SETTINGS];
    for (int i = 0; i < n; i++) gamma[i] = 1;
    for (int round = 0; round < ROUNDS; round++) {
        double moved = 0;
        for (int i = 0; i < n; i++) {
            wins[i] = 0.5; /* the tie with an average player */
            load[i] = 1 / (gamma[i] + 1);
        }
        for (int g = 0; g < count; g++) {
            double each = 1 / (gamma[games[g].a] + gamma[games[g].b]);
            wins[games[g].a] += games[g].score;
            wins[games[g].b] += 1 - games[g].score;
            load[games[g].a] += each;
            load[games[g].b] += each;
        }
        for (int i = 0; i < n; i++) {
            double next = wins[i] / load[i];
            moved = fmax(moved, fabs(log(next / gamma[i])));
            gamma[i] = next;
        }
        if (moved < 1e-9) return;
    }
}

void compare_rate(const CompareGame *games, int count, int n, double *ratings)
{
    double gamma[COMPARE_SETTINGS], mean = 0;
    strengths(games, count, n, gamma);
    for (int i = 0; i < n; i++) mean += log10(gamma[i]) / n;
    for (int i = 0; i < n; i++) ratings[i] = 1500 + 400 * (log10(gamma[i]) - mean);
}

/* What the games tell about the logarithms of strengths: the log-likelihood's second derivatives, negative. */
static void information(const CompareGame *games, int count, int n, const double *gamma,
                        double h[COMPARE_SETTINGS][COMPARE_SETTINGS])
{
    memset(h, 0, sizeof(double[COMPARE_SETTINGS][COMPARE_SETTINGS]));
    for (int i = 0; i < n; i++) h[i][i] = gamma[i] / pow(1 + gamma[i], 2);
    for (int g = 0; g < count; g++) {
        int a = games[g].a, b = games[g].b;
        double v = gamma[a] * gamma[b] / pow(gamma[a] + gamma[b], 2);
        h[a][a] += v;
        h[b][b] += v;
        h[a][b] -= v;
        h[b][a] -= v;
    }
}

/* Gauss and Jordan, in place; the matrix is positive definite, so no row has to be sought. */
static void invert(int n, double m[COMPARE_SETTINGS][COMPARE_SETTINGS])
{
    for (int k = 0; k < n; k++) {
        double pivot = m[k][k];
        m[k][k] = 1;
        for (int j = 0; j < n; j++) m[k][j] /= pivot;
        for (int i = 0; i < n; i++) {
            double factor = m[i][k];
            if (i == k) continue;
            m[i][k] = 0;
            for (int j = 0; j < n; j++) m[i][j] -= factor * m[k][j];
        }
    }
}

void compare_intervals(const CompareGame *games, int count, int n, double *low, double *high)
{
    double gamma[COMPARE_SETTINGS], ratings[COMPARE_SETTINGS], covariance[COMPARE_SETTINGS][COMPARE_SETTINGS];
    strengths(games, count, n, gamma);
    compare_rate(games, count, n, ratings);
    information(games, count, n, gamma, covariance);
    invert(n, covariance);
    for (int i = 0; i < n; i++) { /* of the difference to the mean of all */
        double variance = 0;
        for (int j = 0; j < n; j++)
            for (int k = 0; k < n; k++) variance += ((i == j) - 1.0 / n) * ((i == k) - 1.0 / n) * covariance[j][k];
        double half = 1.96 * sqrt(fmax(variance, 0)) * 400 / log(10);
        low[i] = ratings[i] - half;
        high[i] = ratings[i] + half;
    }
}

/* --- the file --------------------------------------------------------------------------------------- */

static Status read_file(Comparisons *c)
{
    json_error_t error;
    if (access(c->path, F_OK) != 0) return STATUS_OK;
    json_t *games = json_load_file(c->path, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_array(games) || json_array_size(games) > COMPARE_GAMES) {
        json_decref(games);
        return status_fail(STATUS_BAD_INPUT, "%s: expected a JSON array of at most %d comparisons", c->path, COMPARE_GAMES);
    }
    json_decref(c->games);
    c->games = games;
    return STATUS_OK;
}

Status compare_open(Comparisons *c, const char *folder)
{
    *c = (Comparisons){.games = json_array()};
    if (!c->games || pthread_mutex_init(&c->lock, NULL)) return status_fail(STATUS_NO_MEMORY, "out of memory for comparisons");
    if (!folder) return STATUS_OK;
    if (asprintf(&c->path, "%s/comparisons.json", folder) < 0) {
        c->path = NULL;
        return status_fail(STATUS_NO_MEMORY, "out of memory for a path");
    }
    return read_file(c);
}

void compare_release(Comparisons *c)
{
    if (!c->games) return;
    json_decref(c->games);
    free(c->path);
    pthread_mutex_destroy(&c->lock);
    *c = (Comparisons){0};
}

/* A checked copy of what a client sent. */
static Status read_game(const json_t *json, json_t **out)
{
    Fields f;
    fields_init(&f, json, "");
    const char *a = fields_text(&f, "a", COMPARE_NAME, ""), *b = fields_text(&f, "b", COMPARE_NAME, "");
    const char *winner = fields_text(&f, "winner", 3, ""), *prompt = fields_text(&f, "prompt", 400, "");
    int64_t seed = fields_int(&f, "seed", 0, INT64_MAX, 0);
    if (!*a || !*b || !strcmp(a, b)) fields_fail(&f, "a, b", "expected the names of two settings");
    if (strcmp(winner, "a") != 0 && strcmp(winner, "b") != 0 && strcmp(winner, "tie") != 0)
        fields_fail(&f, "winner", "expected a, b or tie");
    TRY(fields_end(&f, true));
    *out = json_pack("{s:s,s:s,s:s,s:s,s:I,s:I}", "a", a, "b", b, "winner", winner, "prompt", prompt, "seed", (json_int_t)seed,
                     "time", (json_int_t)time(NULL));
    return *out ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "out of memory for a comparison");
}

static int setting_of(const char *name, const char **names, int *n)
{
    for (int i = 0; i < *n; i++)
        if (!strcmp(names[i], name)) return i;
    if (*n == COMPARE_SETTINGS) return -1;
    names[*n] = name;
    return (*n)++;
}

/* Games in numbers, names borrowed. Those beyond the limits and those that are none are left out. */
static int read_games(const json_t *list, CompareGame *games, const char **names, int *n)
{
    int count = 0;
    size_t index;
    const json_t *game;
    *n = 0;
    json_array_foreach(list, index, game)
    {
        const char *a = json_string_value(json_object_get(game, "a")), *b = json_string_value(json_object_get(game, "b"));
        const char *winner = json_string_value(json_object_get(game, "winner"));
        if (!a || !b || !winner || !strcmp(a, b)) continue;
        int i = setting_of(a, names, n), j = setting_of(b, names, n);
        if (i >= 0 && j >= 0) games[count++] = (CompareGame){i, j, !strcmp(winner, "a") ? 1 : !strcmp(winner, "b") ? 0 : 0.5};
    }
    return count;
}

Status compare_add(Comparisons *c, const json_t *json)
{
    json_t *game;
    TRY(read_game(json, &game));
    pthread_mutex_lock(&c->lock);
    Status s = json_array_size(c->games) < COMPARE_GAMES
                   ? STATUS_OK
                   : status_fail(STATUS_BAD_INPUT, "expected at most %d comparisons", COMPARE_GAMES);
    if (s == STATUS_OK && json_array_append(c->games, game) != 0)
        s = status_fail(STATUS_NO_MEMORY, "out of memory for a comparison");
    char *text = s == STATUS_OK && c->path ? json_dumps(c->games, JSON_INDENT(1)) : NULL;
    if (text) s = file_write(c->path, text, strlen(text));
    free(text);
    pthread_mutex_unlock(&c->lock);
    json_decref(game);
    return s;
}

static json_t *show_setting(const char *name, const CompareGame *games, int count, int i, const double figures[3])
{
    int played = 0, wins = 0, ties = 0;
    for (int g = 0; g < count; g++) {
        bool mine = games[g].a == i || games[g].b == i;
        played += mine;
        ties += mine && games[g].score == 0.5;
        wins += (games[g].a == i && games[g].score == 1) || (games[g].b == i && games[g].score == 0);
    }
    return json_pack("{s:s,s:f,s:o,s:o,s:i,s:i,s:i}", "setting", name, "rating", figures[0], "low", json_number_or_null(figures[1]),
                     "high", json_number_or_null(figures[2]), "games", played, "wins", wins, "ties", ties);
}

json_t *compare_show(Comparisons *c)
{
    const char *names[COMPARE_SETTINGS];
    double ratings[COMPARE_SETTINGS], low[COMPARE_SETTINGS], high[COMPARE_SETTINGS];
    int n = 0, count = 0;
    json_t *list = json_array();
    pthread_mutex_lock(&c->lock);
    CompareGame *games = malloc((json_array_size(c->games) + 1) * sizeof *games);
    if (games) count = read_games(c->games, games, names, &n);
    if (count) {
        compare_rate(games, count, n, ratings);
        compare_intervals(games, count, n, low, high);
    }
    for (int i = 0; i < n; i++)
        json_array_append_new(list, show_setting(names[i], games, count, i, (double[]){ratings[i], low[i], high[i]}));
    pthread_mutex_unlock(&c->lock);
    free(games);
    return json_pack("{s:i,s:o}", "games", count, "ratings", list);
}
