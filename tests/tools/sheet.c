/* sheet PROMPTS.txt OUT.png [WEIGHTS.h5 UPSAMPLER.h5]: one picture of each prompt (a line each, seed 0, default options) on
 * one contact sheet. data/weights/sheet.txt takes every 22nd concept of the manifest, styles in turn: not picked by hand. */
#include "common/image.h"
#include "common/png_write.h"
#include "glide/glide.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256 };

static int fail(const char *message)
{
    fprintf(stderr, "sheet: %s\n", message);
    return 2;
}

static int read_prompts(const char *path, char prompts[][256])
{
    FILE *f = fopen(path, "r");
    int count = 0;
    while (f && count < MOST && fgets(prompts[count], sizeof prompts[count], f)) {
        prompts[count][strcspn(prompts[count], "\n")] = 0;
        count += *prompts[count] != 0;
    }
    if (f) fclose(f);
    return count;
}

int main(int argc, char **argv)
{
    static char prompts[MOST][256];
    static Image images[MOST];
    if (argc != 3 && argc != 5) return fail("usage: sheet PROMPTS.txt OUT.png [WEIGHTS.h5 UPSAMPLER.h5]");
    int count = read_prompts(argv[1], prompts);
    if (count == 0) return fail("no prompts");
    GlideOptions options = glide_defaults();
    if (argc == 5) {
        options.weights = argv[3];
        options.upsampler_weights = argv[4];
    }
    Glide *glide;
    if (glide_open(&options, &glide) != GLIDE_OK) return fail(glide_message());
    for (int i = 0; i < count; i++) {
        GlidePicture picture = {0};
        if (glide_sample(glide, prompts[i], NULL, &picture) != GLIDE_OK) return fail(glide_message());
        if (image_init(picture.width, picture.height, &images[i]) != STATUS_OK) return fail(status_message());
        memcpy(images[i].pixels, picture.rgb, image_bytes(&images[i]));
        glide_picture_release(&picture);
        fprintf(stderr, "\r%d/%d", i + 1, count);
    }
    fprintf(stderr, "\n");
    glide_close(glide);
    Image sheet = {0};
    ContactSheet layout = contact_sheet_defaults();
    if (image_contact_sheet(images, count, &layout, &sheet) != STATUS_OK) return fail(status_message());
    if (png_write(argv[2], &sheet, NULL, 0) != STATUS_OK) return fail(status_message());
    return 0;
}
