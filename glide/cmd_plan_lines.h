/* What glide plan prints of every command, and the refusal of what cannot fit. */
#ifndef GLIDE_GLIDE_CMD_PLAN_LINES_H
#define GLIDE_GLIDE_CMD_PLAN_LINES_H

#include "glide/cli_options.h"
#include "glide/plan.h"

void cli_plan_stage(const char *name, const PlanStage *p); /* nothing of one that takes no part */
/* STATUS_NO_MEMORY with exit status 2 where it does not fit. */
Status cli_plan_memory(CliArgs *args, double bytes);
void cli_plan_time(double seconds, double pictures, const char *note);

/* Before a run: as cli_plan_memory(), without a word where it fits. */
Status cli_check_memory(CliArgs *args, double bytes);

#endif
