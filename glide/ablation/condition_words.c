#include "glide/ablation/condition_words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 600 };

/* The next of `text`'s words, which end with `separator`; blanks around it are not its. False behind the last. */
static bool next_word(const char **text, char separator, char *word, size_t size)
{
    if (!*text) return false;
    const char *end = strchr(*text, separator), *from = *text + strspn(*text, " \t");
    const char *to = end ? end : *text + strlen(*text);
    if (from > to) from = to;
    while (to > from && strchr(" \t", to[-1])) to--;
    snprintf(word, size, "%.*s", (int)(to - from), from);
    *text = end ? end + 1 : NULL;
    return true;
}

/* --- modes ----------------------------------------------------------------------------------------------- */

static bool find_mode(const char *name, GuidanceModeId *out)
{
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        if (strcmp(name, guidance_mode((GuidanceModeId)i)->name) != 0) continue;
        *out = (GuidanceModeId)i;
        return true;
    }
    return false;
}

static Status unknown_mode(const char *found)
{
    char names[128] = "none";
    for (int i = 0; i < GUIDANCE_MODES; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, ", %s", guidance_mode((GuidanceModeId)i)->name);
    }
    return status_fail(STATUS_BAD_INPUT, "--modes: expected some of %s, or several joined by '+', found \"%.40s\"", names, found);
}

static Status read_mode(const char *text, ConditionMode *m)
{
    char part[WORD];
    *m = (ConditionMode){0};
    for (const char *at = text; next_word(&at, '+', part, sizeof part);) {
        GuidanceModeId id;
        if (!find_mode(part, &id)) return unknown_mode(text);
        for (int i = 0; i < m->count; i++)
            if (m->of[i] == id) return status_fail(STATUS_BAD_INPUT, "--modes: %s is twice in \"%.40s\"", part, text);
        m->of[m->count++] = id;
        size_t used = strlen(m->name);
        snprintf(m->name + used, sizeof m->name - used, "%s%s", used ? "+" : "", part);
    }
    return STATUS_OK;
}

static Status read_modes(ConditionWords *w, const char *text)
{
    char word[WORD];
    for (const char *at = text; next_word(&at, ',', word, sizeof word);) {
        ConditionMode m;
        if (!strcmp(word, "none")) {
            w->none = true;
            continue;
        }
        TRY(read_mode(word, &m));
        if (w->mode_count == CONDITION_MODES_MOST)
            return status_fail(STATUS_BAD_INPUT, "--modes: expected at most %d", CONDITION_MODES_MOST);
        w->modes[w->mode_count++] = m;
    }
    return STATUS_OK;
}

/* --- variants -------------------------------------------------------------------------------------------- */

static Status bad_variant(const char *change, const char *expected)
{
    return status_fail(STATUS_BAD_INPUT, "--variants: expected %s, found \"%.40s\"", expected, change);
}

static Status read_number(const char *change, const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && isfinite(*out) ? STATUS_OK : bad_variant(change, "a number behind \"rescale=\"");
}

static Status read_apg(const char *change, const char *text, GuidanceApg *out)
{
    double *const values[] = {&out->eta, &out->norm, &out->momentum};
    char part[WORD], *end;
    int n = 0;
    *out = (GuidanceApg){.on = true};
    for (const char *at = text; at && next_word(&at, ':', part, sizeof part); n++) {
        if (n < 3) *values[n] = strtod(part, &end);
        if (n == 3 || end == part || *end) return bad_variant(change, "apg or apg=ETA:NORM:MOMENTUM, such as apg=0:15:-0.5");
    }
    return STATUS_OK;
}

/* One change, "KEY" or "KEY=VALUE". */
static Status read_change(char *change, ConditionVariant *v)
{
    char *equals = strchr(change, '='), *value = equals ? equals + 1 : NULL, key[32];
    Status s = STATUS_OK;
    snprintf(key, sizeof key, "%.*s", equals ? (int)(equals - change) : 31, change);
    if (!strcmp(key, "apg")) return read_apg(change, value, &v->guidance.apg);
    if (!strcmp(key, "cfgpp") && !value) v->guidance.cfgpp = true;
    else if (!value || !*value)
        return bad_variant(change, "plain, rescale=PHI, interval=LO:HI, schedule=WORD, apg, threshold=WORD or cfgpp");
    else if (!strcmp(key, "rescale")) return read_number(change, value, &v->guidance.rescale);
    else if (!strcmp(key, "interval")) s = guidance_parse_interval(value, &v->term);
    else if (!strcmp(key, "schedule") && strchr(value, ':')) return bad_variant(change, "schedule=linear or schedule=cosine");
    else if (!strcmp(key, "schedule")) s = guidance_parse_schedule(value, &v->term);
    else if (!strcmp(key, "threshold")) s = guidance_parse_threshold(value, &v->guidance);
    else return bad_variant(change, "plain, rescale=PHI, interval=LO:HI, schedule=WORD, apg, threshold=WORD or cfgpp");
    return s == STATUS_OK ? s : status_prefix(s, "--variants: %s", key);
}

/* "rescale=0.7+apg" is shown as "rescale 0.7, apg". */
static Status show_variant(const char *text, ConditionVariant *v)
{
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if (n + 3 > sizeof v->text) return bad_variant(text, "a shorter variant");
        if (*p == '+') v->text[n++] = ',';
        v->text[n++] = *p == '=' || *p == '+' ? ' ' : *p;
    }
    v->text[n] = 0;
    return STATUS_OK;
}

static Status read_variant(const char *text, ConditionVariant *v)
{
    char change[WORD];
    *v = (ConditionVariant){.term = guidance_term(0)};
    guidance_defaults(&v->guidance);
    if (!strcmp(text, "plain")) return STATUS_OK;
    for (const char *at = text; next_word(&at, '+', change, sizeof change);) TRY(read_change(change, v));
    Guidance check = v->guidance;
    check.terms[GUIDANCE_CFG].low = v->term.low;
    check.terms[GUIDANCE_CFG].high = v->term.high;
    Status s = guidance_check(&check);
    return s == STATUS_OK ? show_variant(text, v) : status_prefix(s, "--variants");
}

static Status read_variants(ConditionWords *w, const char *text)
{
    char word[WORD];
    w->variants = calloc(CONDITION_VARIANTS_MOST, sizeof *w->variants);
    if (!w->variants) return status_fail(STATUS_NO_MEMORY, "out of memory for variants");
    for (const char *at = text; next_word(&at, ';', word, sizeof word);) {
        if (!*word) continue;
        if (w->variant_count == CONDITION_VARIANTS_MOST)
            return status_fail(STATUS_BAD_INPUT, "--variants: expected at most %d", CONDITION_VARIANTS_MOST);
        TRY(read_variant(word, &w->variants[w->variant_count++]));
    }
    return w->variant_count ? STATUS_OK : bad_variant(text, "at least one, such as plain");
}

/* --- scales ---------------------------------------------------------------------------------------------- */

static Status bad_scale(const char *found)
{
    return status_fail(STATUS_BAD_INPUT, "--scales: expected numbers from 0 on with commas between, such as \"0,1,2,4\", found "
                       "\"%.40s\"",
                       found);
}

/* "3", or "3+100" for the `count` parts of a joined mode. */
static Status read_scale(const char *text, int count, ConditionScale *out)
{
    char part[WORD], *end;
    int n = 0;
    *out = (ConditionScale){.same = true};
    for (const char *at = text; next_word(&at, '+', part, sizeof part); n++) {
        if (n == count) return status_fail(STATUS_BAD_INPUT, "--scales: \"%.40s\" has more parts than its mode", text);
        out->of[n] = strtod(part, &end);
        if (end == part || *end || !(out->of[n] >= 0 && out->of[n] <= 1e6)) return bad_scale(text);
    }
    if (n > 1 && n < count) return status_fail(STATUS_BAD_INPUT, "--scales: \"%.40s\" has fewer parts than its mode", text);
    out->same = n == 1;
    for (int i = 1; i < count && n == 1; i++) out->of[i] = out->of[0];
    return STATUS_OK;
}

static Status read_scales(const char *text, int count, ConditionScales *out)
{
    char word[WORD];
    out->count = 0;
    for (const char *at = text; next_word(&at, ',', word, sizeof word);) {
        if (out->count == CONDITION_SCALES_MOST)
            return status_fail(STATUS_BAD_INPUT, "--scales: expected at most %d of a mode", CONDITION_SCALES_MOST);
        TRY(read_scale(word, count, &out->items[out->count++]));
    }
    return STATUS_OK;
}

/* The group of scales called `name` ("": of all); false when there is none. */
static bool find_group(const char *text, const char *name, char *list, size_t size)
{
    char group[WORD];
    for (const char *at = text; next_word(&at, ';', group, sizeof group);) {
        char *equals = strchr(group, '=');
        size_t length = equals ? (size_t)(equals - group) : 0;
        if (!*group || strlen(name) != length || strncmp(group, name, length) != 0) continue;
        snprintf(list, size, "%s", equals ? equals + 1 : group);
        return true;
    }
    return false;
}

/* Groups must be of something in the study. */
static Status check_groups(const ConditionWords *w)
{
    char group[WORD];
    for (const char *at = w->scales; next_word(&at, ';', group, sizeof group);) {
        char *equals = strchr(group, '=');
        bool known = !equals || !*group;
        if (equals) *equals = 0;
        for (int i = 0; i < w->mode_count; i++) known = known || !strcmp(group, w->modes[i].name);
        for (int i = 0; i < w->variant_count; i++) known = known || (w->variants[i].guidance.cfgpp && !strcmp(group, "cfgpp"));
        if (!known) return status_fail(STATUS_BAD_INPUT, "--scales: \"%.40s\" is none of --modes, nor cfgpp with --variants "
                                       "cfgpp", group);
    }
    return STATUS_OK;
}

Status condition_scales_for(const ConditionWords *w, const ConditionMode *mode, const ConditionVariant *v, ConditionScales *out)
{
    char list[WORD];
    bool found = v->guidance.cfgpp && find_group(w->scales, "cfgpp", list, sizeof list);
    if (!found) found = find_group(w->scales, mode->name, list, sizeof list);
    if (!found) found = find_group(w->scales, "", list, sizeof list);
    if (!found) return status_fail(STATUS_BAD_INPUT, "--scales: none are given for %s", mode->name);
    return read_scales(list, mode->count, out);
}

/* --- all ------------------------------------------------------------------------------------------------- */

Status condition_words_init(ConditionWords *w, const char *modes, const char *scales, const char *variants)
{
    *w = (ConditionWords){.scales = strdup(scales)};
    Status s = w->scales ? read_modes(w, modes) : status_fail(STATUS_NO_MEMORY, "out of memory for scales");
    if (s == STATUS_OK && strlen(scales) >= WORD) s = status_fail(STATUS_BAD_INPUT, "--scales: longer than %d bytes", WORD - 1);
    if (s == STATUS_OK) s = read_variants(w, variants);
    if (s == STATUS_OK) s = check_groups(w);
    if (s != STATUS_OK) condition_words_release(w);
    return s;
}

void condition_words_release(ConditionWords *w)
{
    free(w->variants);
    free(w->scales);
    *w = (ConditionWords){0};
}
