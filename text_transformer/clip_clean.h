/* What CLIP's tokenizer does to a text before it looks for words. */
#ifndef GLIDE_TEXT_TRANSFORMER_CLIP_CLEAN_H
#define GLIDE_TEXT_TRANSFORMER_CLIP_CLEAN_H

#include "common/status.h"

#include <stddef.h>

/* Repairs, HTML's character references replaced twice, white space (also a run of it) as one space and none at the ends,
 * lower case. *out is NUL-terminated UTF-8 and the caller's to free(). Errors as utf8_lower().
 *
 * The reference repairs with ftfy.fix_text(). Of that there is what prompts meet: control characters go, curly quotes become
 * straight, ligatures and full-width letters become plain ones, and characters are composed (NFC). Its guesses at texts that
 * went through a wrong encoding are not here. ASCII comes out as ftfy leaves it. */
Status clip_clean(const char *text, size_t size, char **out, size_t *out_size);

#endif
