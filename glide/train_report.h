/* What a training shows of itself on disk: the loss curve and a grid of samples. */
#ifndef GLIDE_TRAIN_REPORT_H
#define GLIDE_TRAIN_REPORT_H

#include "glide/trainer_state.h"

Status train_report_held_out(Trainer *tr); /* into the last record: errors on 64 held-out pictures, noise and steps fixed */
Status train_report_curve(Trainer *tr);   /* OUT.loss.csv and OUT.loss.svg */
Status train_report_samples(Trainer *tr); /* OUT.samples.png, with the averaged weights */

#endif
