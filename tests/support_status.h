/* Assertions on functions that return a Status; they name the expression and the message. */
#ifndef GLIDE_TESTS_SUPPORT_STATUS_H
#define GLIDE_TESTS_SUPPORT_STATUS_H

#include "common/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define OK(expr)                                                                            \
    do {                                                                                    \
        if ((expr) != STATUS_OK) fail_msg("%s: %s", #expr, status_message());               \
    } while (0)
#define FAILS(expr, code, part)                                                             \
    do {                                                                                    \
        assert_int_equal(expr, code);                                                       \
        if (!strstr(status_message(), part)) fail_msg("message '%s' lacks '%s'", status_message(), part); \
    } while (0)

#endif
