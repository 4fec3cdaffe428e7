/* metrics.csv and the table as JSON. */
#include "common/file_write.h"
#include "common/text_buffer.h"
#include "glide/ablation/score.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- CSV ---------------------------------------------------------------------------------------------- */

/* Quoted where RFC 4180 asks for it. */
static void add_field(TextBuffer *out, const char *s)
{
    bool quote = strpbrk(s, ",\"\r\n") != NULL;
    if (quote) text_buffer_add(out, "\"");
    for (; *s; s++) text_buffer_add(out, *s == '"' ? "\"\"" : "%c", *s);
    text_buffer_add(out, quote ? "\"," : ",");
}

static void add_number(TextBuffer *out, double value, char end)
{
    if (isfinite(value)) text_buffer_add(out, "%.9g%c", value, end);
    else text_buffer_add(out, "%c", end);
}

static void add_row(TextBuffer *out, const ScoreTable *t, int condition, int against, ScoreMetricId metric, const ScoreValue *v,
                    double p, double p_holm)
{
    add_field(out, t->results->condition[condition].label);
    add_field(out, against < 0 ? "" : t->results->condition[against].label);
    add_field(out, score_metric(metric)->name);
    add_number(out, v->value, ',');
    add_number(out, v->low, ',');
    add_number(out, v->high, ',');
    text_buffer_add(out, "%lld,", (long long)v->n);
    add_number(out, t->seconds[condition], ',');
    add_number(out, p, ',');
    add_number(out, p_holm, '\n');
}

Status score_write_csv(const ScoreTable *t, const char *path)
{
    TextBuffer out = {0};
    text_buffer_add(&out, "condition,against,metric,value,low,high,n,seconds,p,p_holm\n");
    for (int c = 0; c < t->results->conditions; c++)
        for (int m = 0; m < SCORE_METRICS; m++)
            add_row(&out, t, c, -1, (ScoreMetricId)m, score_value(t, c, (ScoreMetricId)m), NAN, NAN);
    for (int i = 0; i < t->pair_count; i++) {
        const ScorePair *pair = &t->pairs[i];
        ScoreValue difference = {pair->difference, pair->low, pair->high, score_value(t, pair->condition, pair->metric)->n};
        add_row(&out, t, pair->condition, pair->against, pair->metric, &difference, pair->p, pair->p_holm);
    }
    Status s = out.failed ? status_fail(STATUS_NO_MEMORY, "%s: out of memory", path) : file_write(path, out.data, out.size);
    text_buffer_release(&out);
    return s;
}

/* --- JSON --------------------------------------------------------------------------------------------- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Texts are UTF-8 or, where somebody's are not, left out. */
static json_t *text(const char *s)
{
    json_t *j = json_string(s);
    return j ? j : json_null();
}

static json_t *condition_json(const ScoreTable *t, int c)
{
    static const char *const controls[] = {"", "scale 0", "shuffled prompts", "untrained"};
    const AblationCondition *a = &t->results->condition[c];
    json_t *metrics = json_object();
    for (int m = 0; m < SCORE_METRICS; m++) {
        const ScoreValue *v = score_value(t, c, (ScoreMetricId)m);
        json_object_set_new(metrics, score_metric((ScoreMetricId)m)->name,
                            json_pack("{s:o, s:o, s:o, s:I}", "value", number(v->value), "low", number(v->low), "high",
                                      number(v->high), "n", (json_int_t)v->n));
    }
    json_t *j = json_object();
    json_object_set_new(j, "label", text(a->label));
    json_object_set_new(j, "mode", text(a->mode));
    json_object_set_new(j, "variant", text(a->variant));
    json_object_set_new(j, "scale", number(a->scale));
    json_object_set_new(j, "interval", json_pack("[o,o]", number(a->low), number(a->high)));
    json_object_set_new(j, "control", text(controls[a->control]));
    json_object_set_new(j, "equals", a->equals >= 0 ? text(t->results->condition[a->equals].label) : json_null());
    json_object_set_new(j, "seconds", number(t->seconds[c]));
    json_object_set_new(j, "metrics", metrics);
    return j;
}

static json_t *pair_json(const ScoreTable *t, const ScorePair *p)
{
    static const char *const kinds[] = {"first", "neighbour", "best"};
    return json_pack("{s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "condition", text(t->results->condition[p->condition].label),
                     "against", text(t->results->condition[p->against].label), "kind", kinds[p->kind], "metric",
                     score_metric(p->metric)->name, "difference", number(p->difference), "low", number(p->low), "high",
                     number(p->high), "p", number(p->p), "p_holm", number(p->p_holm));
}

static json_t *trend_json(const ScoreTable *t, const ScoreTrend *x)
{
    const AblationCondition *a = &t->results->condition[x->first];
    return json_pack("{s:o, s:o, s:[o,o], s:i, s:s, s:o, s:o, s:o, s:o, s:o}", "mode", text(a->mode), "variant", text(a->variant),
                     "interval", number(a->low), number(a->high), "scales", x->scales, "metric", score_metric(x->metric)->name,
                     "change", number(x->change), "low", number(x->low), "high", number(x->high), "p", number(x->p), "p_holm",
                     number(x->p_holm));
}

static json_t *check_json(const ScoreCheck *c)
{
    static const char *const marks[] = {"pass", "warn", "fail", "missing"};
    return json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "name", text(c->name), "kind", c->control ? "control" : "check",
                     "mark", marks[c->mark], "text", text(c->text), "value", number(c->value), "low", number(c->low), "high",
                     number(c->high), "expected", number(c->expected));
}

static json_t *table_json(const ScoreTable *t)
{
    const AblationResults *r = t->results;
    json_t *conditions = json_array(), *pairs = json_array(), *trends = json_array(), *checks = json_array(),
           *facts = json_object();
    for (int c = 0; c < r->conditions; c++) json_array_append_new(conditions, condition_json(t, c));
    for (int i = 0; i < t->pair_count; i++) json_array_append_new(pairs, pair_json(t, &t->pairs[i]));
    for (int i = 0; i < t->trend_count; i++) json_array_append_new(trends, trend_json(t, &t->trends[i]));
    for (int i = 0; i < t->check_count; i++) json_array_append_new(checks, check_json(&t->checks[i]));
    for (int i = 0; i < r->fact_count; i++) json_object_set_new(facts, r->facts[i][0], text(r->facts[i][1]));
    return json_pack("{s:s, s:i, s:i, s:i, s:b, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o}", "format", "glide-ablation-scores",
                     "format_version", 1, "prompts", r->prompts, "seeds", r->seeds, "judged", t->judged, "chance_top1",
                     number(t->prompt_chance[0]), "chance_top5", number(t->prompt_chance[1]), "conditions", conditions,
                     "differences", pairs, "trends", trends, "tests", t->tested, "checks", checks, "facts", facts);
}

Status score_write_json(const ScoreTable *t, const char *path)
{
    json_t *root = table_json(t);
    char *out = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL,
         *line = out ? malloc(strlen(out) + 1) : NULL;
    json_decref(root);
    Status s = out && line ? STATUS_OK : status_fail(STATUS_NO_MEMORY, "%s: out of memory for JSON", path);
    if (s == STATUS_OK) {
        size_t size = strlen(out);
        memcpy(line, out, size);
        line[size] = '\n';
        s = file_write(path, line, size + 1);
    }
    free(out);
    free(line);
    return s;
}
