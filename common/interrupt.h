/* Ctrl-C and SIGTERM ask long work to stop at a good place; a second one ends the program at once,
 * unless it comes within 0.3 s: `timeout` sends two for one.
 *
 *     interrupt_install("\nstopping after this step; press Ctrl-C again to stop at once\n");
 *     while (...) if (interrupt_requested()) return status_fail(STATUS_INTERRUPTED, ...);
 *
 * The flag and the notice are the program's only process-wide state of its own: a signal handler can reach nothing else.
 * Only programs install the handler; library code takes the question as a callback. */
#ifndef GLIDE_COMMON_INTERRUPT_H
#define GLIDE_COMMON_INTERRUPT_H

#include <stdbool.h>

/* Catch SIGINT and SIGTERM (not those that the parent told us to ignore, as nohup and shells' background jobs do).
 * `notice`, a string that lives on or NULL, is written to stderr at the first one. */
void interrupt_install(const char *notice);
bool interrupt_requested(void);
/* Which signal it was; 0: none. 128 + it is the customary exit status. */
int interrupt_signal(void);
/* Forget a request and give the signals their default effect again. */
void interrupt_restore(void);

#endif
