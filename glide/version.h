/* The version that `glide --version` prints and files record as their maker. */
#ifndef GLIDE_GLIDE_VERSION_H
#define GLIDE_GLIDE_VERSION_H

#define GLIDE_VERSION "0.1.0"

#endif
