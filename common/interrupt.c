#include "common/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SAME_REQUEST = 300 /* milliseconds */ };

static volatile sig_atomic_t requested; /* the signal's number */
static struct timespec first_time;      /* of that; written before `requested`, read after it, by handlers alone */
static const char *volatile notice_text;

static void on_signal(int number)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    /* timeout signals its child, and then the child's group: one request, and no reason to leave at once */
    if (requested && (now.tv_sec - first_time.tv_sec) * 1000 + (now.tv_nsec - first_time.tv_nsec) / 1000000 < SAME_REQUEST) return;
    if (requested) { /* asked twice: die of the signal, so that the parent sees why */
        signal(number, SIG_DFL);
        sigset_t this_one;
        sigemptyset(&this_one);
        sigaddset(&this_one, number);
        sigprocmask(SIG_UNBLOCK, &this_one, NULL);
        raise(number);
    }
    int saved = errno;
    const char *notice = notice_text;
    if (!requested) first_time = now;
    requested = number;
    if (notice && write(STDERR_FILENO, notice, strlen(notice)) < 0) { /* nobody to tell */ }
    errno = saved;
}

static void catch_signal(int number)
{
    struct sigaction old, ours = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&ours.sa_mask);
    if (sigaction(number, NULL, &old) == 0 && old.sa_handler == SIG_IGN) return;
    sigaction(number, &ours, NULL);
}

void interrupt_install(const char *notice)
{
    notice_text = notice;
    requested = 0;
    catch_signal(SIGINT);
    catch_signal(SIGTERM);
}

bool interrupt_requested(void)
{
    return requested != 0;
}

int interrupt_signal(void)
{
    return requested;
}

void interrupt_restore(void)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old;
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == on_signal) signal(numbers[i], SIG_DFL);
    }
    requested = 0;
    notice_text = NULL;
}
