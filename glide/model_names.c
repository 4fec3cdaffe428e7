#include "glide/model_names.h"

#include "base_model/base_model.h"
#include "text_transformer/guided_diffusion.h"
#include "upsampler/upsampler.h"

#include <stdio.h>
#include <string.h>

enum { TRAINER_VOCAB = 2048 };

static const struct Stage {
    const char *suffix;
    const TextUNetPreset *presets;
    Status (*config)(const char *name, TextUNetConfig *c);
} stages[] = {
    {"-base", base_model_presets, base_model_config},
    {"-upsampler", upsampler_presets, upsampler_config},
};

enum { STAGES = sizeof stages / sizeof *stages };

const char *model_names(char *text, size_t size)
{
    size_t used = 0;
    *text = 0;
    for (int s = 0; s < STAGES; s++)
        for (const TextUNetPreset *p = stages[s].presets; p->name && used < size; p++)
            used += (size_t)snprintf(text + used, size - used, "%s%s%s", used ? ", " : "", p->name, stages[s].suffix);
    if (used < size) used += (size_t)snprintf(text + used, size - used, " (or NAME-inpaint of these)");
    for (const GuidedPreset *p = guided_presets; p->name && used < size; p++)
        used += (size_t)snprintf(text + used, size - used, ", %s", p->name);
    return text;
}

static bool cut_suffix(char *name, const char *suffix)
{
    size_t length = strlen(name), n = strlen(suffix);
    if (length <= n || strcmp(name + length - n, suffix)) return false;
    name[length - n] = 0;
    return true;
}

bool model_named(const char *wanted, TextUNetConfig *c)
{
    char name[64];
    if (guided_config(wanted, c)) return true;
    if ((size_t)snprintf(name, sizeof name, "%s", wanted) >= sizeof name) return false;
    bool inpaint = cut_suffix(name, "-inpaint");
    int stage = 0;
    while (stage < STAGES && !cut_suffix(name, stages[stage].suffix)) stage++;
    if (stage == STAGES || stages[stage].config(name, c) != STATUS_OK) return false;
    if (strcmp(name, "glide")) c->text.n_vocab = TRAINER_VOCAB; /* as the trainer makes them */
    c->inpaint = inpaint;
    text_unet_config_complete(c);
    return true;
}
