/* Memory as the system tells it, in bytes: Linux's /proc, this process's control group and its own limit. */
#ifndef GLIDE_COMMON_SYSTEM_MEMORY_H
#define GLIDE_COMMON_SYSTEM_MEMORY_H

/* What this process may still take: the least of what the system has, the control group's limit (memory.max) and the limit of
 * address space (ulimit -v), threads' stacks set aside. Huge where none of them can be read. */
double memory_free(void);
/* What this process has in memory now, mapped files included; 0: cannot be read. */
double memory_used(void);
/* Of the machine, or of the control group where that may have less. */
double memory_total(void);

#endif
