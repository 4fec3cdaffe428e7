#include "common/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_message[2048];

Status status_fail(Status code, const char *format, ...)
{
    char text[sizeof last_message]; /* the arguments may point into last_message */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(last_message, text, sizeof text);
    return code;
}

Status status_prefix(Status code, const char *format, ...)
{
    char prefix[256];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    return status_fail(code, "%s: %s", prefix, last_message);
}

const char *status_message(void)
{
    return last_message;
}
