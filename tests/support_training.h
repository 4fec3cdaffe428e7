/* What tests ask of the files that a training leaves. */
#ifndef GLIDE_TESTS_SUPPORT_TRAINING_H
#define GLIDE_TESTS_SUPPORT_TRAINING_H

/* Averaged weights, raw weights and moments of two checkpoints must be the same to the last bit. */
void assert_same_checkpoint(const char *a, const char *b);
/* All that the first file holds is in the second; 0 and -0 are the same. */
void assert_same_weights(const char *a, const char *b);

/* A field of OUT.loss.csv, columns from 0; the step must be there. */
double history_at(const char *csv, int step, int column);

#endif
