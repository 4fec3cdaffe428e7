/* How functions report failure: a Status code, and the text of the last failure kept per thread.
 *
 *     TRY(weights_open(path, &w));            forwards any failure to the caller
 *     return status_fail(STATUS_BAD_INPUT, "%s: tensor %s is %s, expected %s", path, name, found, wanted);
 *
 * A message is one line that names the file, tensor, option or field, what was expected and what was found. Where one line
 * cannot say it all (the parameters that do not fit a model), it says enough to be used alone and details follow.
 * Libraries never print or exit; only the command line does. */
#ifndef GLIDE_COMMON_STATUS_H
#define GLIDE_COMMON_STATUS_H

typedef enum {
    STATUS_OK = 0,
    STATUS_BAD_INPUT,   /* a file, option or field that the user gave is wrong */
    STATUS_IO,          /* the operating system refused to read or write */
    STATUS_NO_MEMORY,
    STATUS_INTERRUPTED, /* Ctrl-C or a callback asked to stop; what is done is kept */
    STATUS_INTERNAL     /* a library failed in a way that is not the user's doing */
} Status;

enum { STATUS_DETAILS_ROOM = 4096 };

#define TRY(expr)                                  \
    do {                                           \
        Status try_status_ = (expr);               \
        if (try_status_ != STATUS_OK) return try_status_; \
    } while (0)

/* Remember the message for this thread and return `code`. */
Status status_fail(Status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Put "prefix: " in front of the current message (to add the file's name, say) and return `code`. */
Status status_prefix(Status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Text of this thread's last failure; "" when there was none. Valid until the next failure. */
const char *status_message(void);

/* Put details (lines that each end in '\n'; at most STATUS_DETAILS_ROOM - 1 bytes are kept) under the current message; the next
 * status_fail() drops them, status_prefix() does not. Returns `code`. */
Status status_add_details(Status code, const char *lines);

/* Lines that belong under status_message(), each with its '\n'; mostly "". Valid as long as that. */
const char *status_details(void);

#endif
