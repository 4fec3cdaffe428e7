/* The parts of a training step at the same time: every worker has a copy of the model (the values of its parameters and copies
 * packed for the kernels are shared, gradients its own), kernels and a tape, and takes its share of the step's rows with its
 * share of the threads. Two workers of one thread each get through 1.4 times as many small pictures as one of two threads, whose
 * every op ends in waiting for the slower half. Gradients are added in the workers' order: a step depends on how many workers
 * there are, but on nothing that happens while they run. */
#ifndef GLIDE_TRAIN_TEAM_H
#define GLIDE_TRAIN_TEAM_H

#include "glide/trainer_state.h"

typedef struct TrainTeam TrainTeam;

/* As many workers as the trainer's options say. The first is the calling thread, with the trainer's own model and tape.
 * On failure *out may hold what is to be freed. */
Status train_team_new(Trainer *tr, TrainTeam **out);
void train_team_free(TrainTeam *team); /* NULL is fine */

/* The gradients of the step's rows, added to those of the trainer's model; the losses in means over the rows. */
Status train_team_step(TrainTeam *team, uint32_t step, double mean[TRAIN_LOSSES]);

/* Operations so far, as tape_flops() counts them. */
double train_team_flops(const TrainTeam *team);
/* Activations' most memory, all workers' together. */
size_t train_team_peak_bytes(const TrainTeam *team);
int train_team_workers(const TrainTeam *team);

#endif
