/* How libpng's errors leave it: by longjmp. What must be freed afterwards lives in a struct outside the function that calls
 * setjmp, so that no local variable's value is in doubt. */
#ifndef GLIDE_COMMON_PNG_LEAVE_H
#define GLIDE_COMMON_PNG_LEAVE_H

#include <setjmp.h>
#include <stdio.h>

#include <png.h>

typedef struct PngLeave {
    char message[256];
    jmp_buf leave;
} PngLeave;

/* For png_create_read_struct() and png_create_write_struct(), with a PngLeave as their pointer. */
static inline void png_leave_on_error(png_structp png, png_const_charp message)
{
    PngLeave *to = png_get_error_ptr(png);
    snprintf(to->message, sizeof to->message, "%s", message);
    longjmp(to->leave, 1);
}

static inline void png_leave_no_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

#endif
