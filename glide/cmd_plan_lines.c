#include "glide/cmd_plan_lines.h"

#include "common/progress.h"
#include "common/system_memory.h"

#include <stdio.h>

void cli_plan_stage(const char *name, const PlanStage *p)
{
    if (!p->takes_part) return;
    printf("%-10s %dx%d pixels, ", name, p->width, p->height);
    if (p->windows > 1) printf("%lld windows, ", (long long)p->windows);
    printf("%d steps, %.6g evaluations a picture", p->steps, p->answers + p->weaker);
    if (p->gradients > 0) printf(" and %.6g gradients", p->gradients);
    if (p->seconds_a_picture > 0) printf(", %.3g s", p->seconds_a_picture);
    puts("");
}

Status cli_check_memory(CliArgs *args, double bytes)
{
    Status s = plan_check_memory(bytes);
    args->usage_error |= s != STATUS_OK;
    return s;
}

Status cli_plan_memory(CliArgs *args, double bytes)
{
    printf("%-10s about %.2f GB, %.2f GB are free\n", "memory", bytes * 1e-9, memory_free() * 1e-9);
    return cli_check_memory(args, bytes);
}

void cli_plan_time(double seconds, double pictures, const char *note)
{
    char text[48];
    printf("%-10s %s for %.0f picture%s%s\n", "time", progress_format_time(seconds, text, sizeof text), pictures,
           pictures == 1 ? "" : "s", note);
}
