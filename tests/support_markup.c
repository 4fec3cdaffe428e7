#include "tests/support_markup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <string.h>

enum { DEPTH = 64, NAME = 32, ATTRIBUTES = 32 };

typedef struct Markup {
    const char *at;
    char open[DEPTH][NAME];
    int depth, elements;
} Markup;

static void check(bool good, const char *what, const char *at)
{
    if (!good) fail_msg("markup: %s at \"%.80s\"", what, at);
}

static void read_name(Markup *m, char *name)
{
    int n = 0;
    while (isalnum((unsigned char)*m->at) || *m->at == '-' || *m->at == '_' || *m->at == ':')
        if (n + 1 < NAME) name[n++] = *m->at++;
        else m->at++;
    name[n] = 0;
    check(n > 0, "no name", m->at - 1);
}

static void check_entity(const char *at)
{
    static const char *const known[] = {"&lt;", "&gt;", "&amp;", "&quot;"};
    bool good = false;
    for (int i = 0; i < 4; i++) good |= strncmp(at, known[i], strlen(known[i])) == 0;
    check(good, "an & that is not escaped", at);
}

static void read_attributes(Markup *m, const char *tag)
{
    char names[ATTRIBUTES][NAME];
    for (int count = 0;; count++) {
        bool space = isspace((unsigned char)*m->at) != 0;
        while (isspace((unsigned char)*m->at)) m->at++;
        if (*m->at == '>' || *m->at == '/') return;
        check(space && count < ATTRIBUTES, "expected an attribute", tag);
        read_name(m, names[count]);
        for (int i = 0; i < count; i++) check(strcmp(names[i], names[count]) != 0, "an attribute twice", tag);
        check(m->at[0] == '=' && m->at[1] == '"', "an attribute without quotes", tag);
        for (m->at += 2; *m->at != '"'; m->at++) {
            check(*m->at && *m->at != '<', "an attribute that does not end", tag);
            if (*m->at == '&') check_entity(m->at);
        }
        m->at++;
    }
}

static void read_tag(Markup *m)
{
    const char *tag = m->at;
    char name[NAME];
    bool closes = m->at[1] == '/';
    m->at += closes ? 2 : 1;
    read_name(m, name);
    if (closes) {
        check(*m->at == '>' && m->depth > 0 && strcmp(m->open[m->depth - 1], name) == 0, "a closing tag that nothing opened", tag);
        m->depth--;
        m->at++;
        return;
    }
    read_attributes(m, tag);
    m->elements++;
    if (*m->at == '/') {
        check(m->at[1] == '>', "expected />", tag);
        m->at += 2;
        return;
    }
    check(m->depth < DEPTH, "too deep", tag);
    strcpy(m->open[m->depth++], name);
    m->at++;
    if (strcmp(name, "style") == 0) m->at = strstr(m->at, "</style>");
    check(m->at != NULL, "a style that does not end", tag);
}

int assert_markup(const char *text)
{
    Markup m = {.at = text};
    if (strncmp(text, "<!DOCTYPE html>", 15) == 0) m.at += 15;
    while (*m.at) {
        if (*m.at == '<') {
            read_tag(&m);
            continue;
        }
        if (*m.at == '&') check_entity(m.at);
        check(m.depth > 0 || isspace((unsigned char)*m.at), "text outside of elements", m.at);
        m.at++;
    }
    check(m.depth == 0, "elements left open", m.depth ? m.open[m.depth - 1] : "");
    return m.elements;
}

int count_text(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) count++;
    return count;
}
