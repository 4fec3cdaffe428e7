#include "glide/cmd_guidance.h"

#include "glide/weights_path.h"
#include "guidance/classifier_file.h"
#include "guidance/guidance.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "--NAME: " and the message that is in place. */
static Status bad_value(CliArgs *args, const char *option)
{
    char message[512];
    snprintf(message, sizeof message, "%s", status_message());
    return cli_usage_fail(args, "--%s: %s", option, message);
}

/* The options of a mode begin alike: MODE-scale, MODE-interval, MODE-schedule. */
static const char *option_of(const char *mode, const char *what, char *text, size_t size)
{
    snprintf(text, size, "%s-%s", mode, what);
    return text;
}

static Status fill_term(CliArgs *args, const char *mode, double scale, const char *interval, const char *schedule,
                        GlideGuidanceTerm *out)
{
    char name[64], other[64];
    GuidanceTerm t = guidance_term(scale);
    *out = (GlideGuidanceTerm){scale, interval, schedule};
    if (guidance_parse_interval(interval, &t) != STATUS_OK) return bad_value(args, option_of(mode, "interval", name, sizeof name));
    option_of(mode, "schedule", name, sizeof name);
    if (guidance_parse_schedule(schedule, &t) != STATUS_OK) return bad_value(args, name);
    option_of(mode, "scale", other, sizeof other);
    if (t.shape != GUIDANCE_POINTS || !cli_given(args, other)) return STATUS_OK;
    return cli_usage_fail(args, "--%s: its points are the scales, expected no --%s beside it", name, other);
}

/* Which option of a mode was given, in `name`; NULL: none. */
static const char *given_of(const CliArgs *args, const char *mode, char *name, size_t size)
{
    static const char *const ends[] = {"scale", "interval", "schedule"};
    for (int i = 0; i < 3; i++)
        if (cli_given(args, option_of(mode, ends[i], name, size))) return name;
    return NULL;
}

/* A guide is the file that was named, or the default one where options ask for the mode. */
static const char *guide_file(const CliArgs *args, const char *mode, const char *file)
{
    char name[64];
    return file || !given_of(args, mode, name, sizeof name) ? file : "";
}

Status cli_class(CliArgs *args, const char *text, const GlideGuidance *guidance, int *label)
{
    enum { MOST = 1048575 };
    char *end, quoted[80], path[PATH_MAX];
    const char *file = guidance->classifier_weights;
    Classifier *m;
    long number = strtol(text, &end, 10);
    *label = (int)number;
    if (*text && !*end && number >= 0 && number <= MOST) return STATUS_OK;
    if (!file || (*text && !*end))
        return cli_usage_fail(
            args, "--class: expected a whole number from 0 to %d, or for a classifier that guides \"SUBJECT, STYLE\", found %s",
            MOST, cli_quote(text, quoted, sizeof quoted));
    if (!*file) {
        TRY(weights_path_default("classifier.h5", path, sizeof path));
        file = path;
    }
    TRY(classifier_load(file, &m, NULL));
    Status s = classifier_parse_label(m, text, label);
    classifier_free(m);
    return s == STATUS_OK ? s : cli_usage_fail(args, "--%s", status_message());
}

static Status fill_apg(CliArgs *args, const char *text, GlideGuidance *out)
{
    double *const values[] = {&out->apg_eta, &out->apg_norm, &out->apg_momentum};
    const char *at = text;
    char *end, quoted[80];
    bool ok = true;
    for (int i = 0; i < 3 && ok; i++) {
        *values[i] = strtod(at, &end);
        ok = end != at && (*end == 0 || (*end == ':' && i < 2));
        if (ok && !*end) break;
        at = end + 1;
    }
    ok = ok && fabs(*values[0]) <= 100 && *values[1] >= 0 && *values[1] < 1e9 && fabs(*values[2]) < 1;
    out->apg = true;
    if (ok) return STATUS_OK;
    return cli_usage_fail(args, "--apg: expected ETA, ETA:NORM or ETA:NORM:MOMENTUM with a norm of 0 or more and a momentum "
                          "between -1 and 1, such as 0:15:-0.5, found %s", cli_quote(text, quoted, sizeof quoted));
}

/* What only changes classifier-free guidance or autoguidance needs one of them. */
static Status check_modifiers(CliArgs *args, const CliGuidance *c, const GlideGuidance *g)
{
    static const char *const of_cfg[] = {"negative-prompt", "guidance-interval", "guidance-schedule"};
    bool points = c->schedule && strchr(c->schedule, ':'), cfg = g->cfg.scale != 1 || points || g->cfgpp;
    bool some = cfg || (c->guide_weights && (c->autoguidance_scale > 0 || c->autoguidance_schedule));
    for (int i = 0; i < 3; i++)
        if (cli_given(args, of_cfg[i]) && !cfg)
            return cli_usage_fail(args, "--%s: expected a --guidance-scale other than 1", of_cfg[i]);
    if (c->apg && !some) return cli_usage_fail(args, "--apg: expected a --guidance-scale other than 1, or --guide-weights");
    if (c->rescale > 0 && !some)
        return cli_usage_fail(args, "--guidance-rescale: expected a --guidance-scale other than 1, or --guide-weights");
    return STATUS_OK;
}

static Status check_cfgpp(CliArgs *args, const CliGuidance *c, GlideGuidance *out)
{
    if (!c->cfgpp) return STATUS_OK;
    if (!cli_has(args, "guidance-scale")) out->cfg.scale = CLI_GUIDANCE_CFGPP_SCALE;
    if (out->cfg.scale <= 1) return STATUS_OK;
    return cli_usage_fail(args, "--cfgpp: expected a --guidance-scale from 0 to 1 beside it, found %g", out->cfg.scale);
}

Status cli_guidance(CliArgs *args, const CliGuidance *c, GlideGuidance *out)
{
    Guidance parsed = {0};
    *out = glide_guidance_defaults();
    out->negative_prompt = c->negative_prompt;
    out->guide_weights = c->guide_weights;
    out->classifier_weights = guide_file(args, "classifier", c->classifier);
    out->clip_weights = guide_file(args, "clip", c->clip);
    out->rescale = c->rescale;
    out->threshold = c->threshold;
    out->cfgpp = c->cfgpp;
    if (guidance_parse_threshold(c->threshold, &parsed) != STATUS_OK) return bad_value(args, "threshold");
    TRY(fill_term(args, "guidance", c->scale, c->interval, c->schedule, &out->cfg));
    TRY(fill_term(args, "autoguidance", c->autoguidance_scale, c->autoguidance_interval, c->autoguidance_schedule,
                  &out->autoguidance));
    TRY(fill_term(args, "classifier", c->classifier_scale, c->classifier_interval, c->classifier_schedule, &out->classifier));
    TRY(fill_term(args, "clip", c->clip_scale, c->clip_interval, c->clip_schedule, &out->clip));
    char name[64];
    if (!c->guide_weights && given_of(args, "autoguidance", name, sizeof name))
        return cli_usage_fail(args, "--%s: expected --guide-weights beside it", name);
    if (out->classifier_weights && !cli_has(args, "class"))
        return cli_usage_fail(args, "--%s: expected --class beside it, what it is to guide towards",
                              c->classifier ? "classifier" : given_of(args, "classifier", name, sizeof name));
    if (c->apg) TRY(fill_apg(args, c->apg, out));
    TRY(check_cfgpp(args, c, out));
    return check_modifiers(args, c, out);
}
