/* Blind comparisons: which of two pictures of the same noise under two settings was liked better, and what follows from all such
 * answers for the settings.
 *
 * Ratings are the maximum likelihood of the Bradley-Terry model (Biometrika 39, 1952), on Elo's scale (400 points are odds of 10),
 * with a mean of 1500. Unlike Elo's own updates they do not depend on the order of the games. A tie counts half for each; each
 * setting has one tie with an average player on top, which keeps ratings finite where somebody won every game. Intervals are
 * 1.96 standard errors by the likelihood's curvature at its maximum: wide while there are few games, also where one side won
 * them all, of which resampling would make nothing. */
#ifndef GLIDE_SERVE_COMPARE_H
#define GLIDE_SERVE_COMPARE_H

#include "common/status.h"

#include <jansson.h>
#include <pthread.h>

enum { COMPARE_SETTINGS = 32, COMPARE_GAMES = 20000, COMPARE_NAME = 80 };

typedef struct Comparisons {
    pthread_mutex_t lock;
    char *path;    /* of the file that keeps them; NULL: in memory alone */
    json_t *games; /* array of {"a", "b", "winner": "a", "b" or "tie", "prompt", "seed", "time"} */
} Comparisons;

typedef struct CompareGame {
    int a, b;     /* settings */
    double score; /* of a: 1, 0.5 or 0 */
} CompareGame;

/* ratings (n); games between settings 0 to n - 1. */
void compare_rate(const CompareGame *games, int count, int n, double *ratings);
/* low, high (n): 95 %. */
void compare_intervals(const CompareGame *games, int count, int n, double *low, double *high);

/* folder NULL: nothing is kept. A file that is damaged is an error. */
Status compare_open(Comparisons *c, const char *folder);
void compare_release(Comparisons *c);
Status compare_add(Comparisons *c, const json_t *game); /* checked and copied, written at once */
json_t *compare_show(Comparisons *c); /* {"games": N, "ratings": [{"setting", "rating", "low", "high", "games", "wins", "ties"}]} */

#endif
