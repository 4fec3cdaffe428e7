/* "Did you mean": the nearest name to a misspelt one. */
#ifndef GLIDE_GLIDE_CLI_SUGGEST_H
#define GLIDE_GLIDE_CLI_SUGGEST_H

/* Letters to insert, delete, change or swap with their neighbour to make b of a, ignoring case (Damerau 1964, Levenshtein
 * 1966, in the "optimal string alignment" form); only the first 63 bytes count. */
int cli_distance(const char *a, const char *b);

/* The name nearest to `word` when it is near enough to be meant: by distance, or because it begins with
 * the word or has it inside. NULL when none is. Borrowed from names. */
const char *cli_nearest(const char *word, const char *const *names, int count);

#endif
