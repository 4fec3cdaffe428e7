/* A folder below /tmp for a test program's files, and files as bytes. Any failure fails the test. */
#ifndef GLIDE_TESTS_SUPPORT_FOLDER_H
#define GLIDE_TESTS_SUPPORT_FOLDER_H

#include <stddef.h>
#include <stdint.h>

extern char test_folder[64];

/* For cmocka_run_group_tests() and friends: a new folder, and its removal with everything in it. */
int test_folder_setup(void **state);
int test_folder_teardown(void **state);
/* Removal of `path` (may be missing) and the folder, which fails (not 0) if anything else was left in it. */
int test_folder_remove_with(const char *path);

const char *in_test_folder(const char *name); /* "FOLDER/name"; good for seven more calls */
int test_folder_count(void);                  /* files in it */

/* More of them, where one is not enough. */
void make_test_folder(char folder[64]);
void remove_test_folder(const char *folder);

/* A whole file; free(). It holds a byte at least. */
uint8_t *read_bytes(const char *path, size_t *size);
/* A new file in the place of any older one: rewriting one in place would wait for the disk each time. */
void write_bytes(const char *path, const void *bytes, size_t size);

#endif
