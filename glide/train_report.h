/* What a training shows of itself on disk: the loss curve and a grid of samples. */
#ifndef GLIDE_TRAIN_REPORT_H
#define GLIDE_TRAIN_REPORT_H

#include "glide/trainer_state.h"

/* Into the last record, and as text ("" when nothing is measured). */
Status train_report_held_out(Trainer *tr, char *text, size_t size);
Status train_report_curve(Trainer *tr);   /* OUT.loss.csv and OUT.loss.svg */
Status train_report_samples(Trainer *tr); /* OUT.samples.png, with the averaged weights */

#endif
