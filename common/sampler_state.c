#include "common/sampler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool copy(const float *from, size_t bytes, float **out)
{
    *out = malloc(bytes);
    if (*out) memcpy(*out, from, bytes);
    return *out != NULL;
}

Status sampler_save(const Sampler *s, const float *x, int done, SamplerState *out)
{
    size_t bytes = (size_t)sampler_size(s) * sizeof *x;
    *out = (SamplerState){.done = done, .size = sampler_size(s), .taken = s->taken, .expected = s->expected};
    bool ok = copy(x, bytes, &out->x);
    for (int i = 0; i < s->kept && s->taken > 0; i++) { /* a single step may have left two */
        ok = copy(s->memory[i], bytes, &out->memory[i]) && ok;
        out->remembered[i] = s->remembered[i];
    }
    if (ok) return STATUS_OK;
    sampler_state_release(out);
    return status_fail(STATUS_NO_MEMORY, "out of memory for keeping %lld pictures", (long long)s->n);
}

void sampler_restore(Sampler *s, const SamplerState *state, float *x)
{
    size_t bytes = (size_t)state->size * sizeof *x;
    assert(state->size == sampler_size(s) && s->options.skip == state->done);
    memcpy(x, state->x, bytes);
    for (s->kept = 0; s->kept < s->options.kind->memory && state->memory[s->kept]; s->kept++) {
        memcpy(s->memory[s->kept], state->memory[s->kept], bytes);
        s->remembered[s->kept] = state->remembered[s->kept];
    }
    s->taken = state->taken;
    s->expected = state->expected;
}

void sampler_state_release(SamplerState *state)
{
    free(state->x);
    for (int i = 0; i < SAMPLER_MEMORY; i++) free(state->memory[i]);
    *state = (SamplerState){0};
}
