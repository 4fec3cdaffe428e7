/* Pictures out of the fetched packages: SVG icons (iconify's icons.json) by librsvg, WebP files by libwebp. */
#ifndef GLIDE_DATA_BUILD_RENDER_H
#define GLIDE_DATA_BUILD_RENDER_H

#include "common/status.h"
#include "data/dataset.h"
#include "data/manifest.h"

#include <stdint.h>

typedef struct IconSet IconSet; /* one unpacked package */

/* `folder` is the unpacked package. The Source is borrowed. */
Status iconset_open(const Source *source, const char *folder, IconSet **out);
void iconset_free(IconSet *set);

/* Render icon `name` on white, as large as the source's margin allows and centred: rgb (256,256,3) u8. Several threads
 * may render from one set. A missing icon, a failed rendering and a blank picture are errors. */
Status iconset_render(const IconSet *set, const char *name, uint8_t *rgb);

#endif
