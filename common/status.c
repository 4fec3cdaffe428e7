#include "common/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_message[2048], last_details[STATUS_DETAILS_ROOM];

Status status_fail(Status code, const char *format, ...)
{
    char text[sizeof last_message]; /* the arguments may point into last_message */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(last_message, text, sizeof text);
    last_details[0] = 0;
    return code;
}

Status status_prefix(Status code, const char *format, ...)
{
    char prefix[256], details[sizeof last_details];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    memcpy(details, last_details, sizeof details);
    status_fail(code, "%s: %s", prefix, last_message);
    return status_add_details(code, details);
}

Status status_add_details(Status code, const char *lines)
{
    snprintf(last_details, sizeof last_details, "%s", lines);
    return code;
}

const char *status_message(void)
{
    return last_message;
}

const char *status_details(void)
{
    return last_details;
}
