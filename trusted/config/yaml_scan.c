// SPDX-License-Identifier: Apache-2.0
#include "trusted/config/yaml_scan.h"

#include "trusted/config/explain.h"

#include <string.h>
#include <yaml.h>

struct walk {
    struct yaml_scan *scan;
    struct explain *why;
    uint32_t documents, depth;
    struct {
        bool is_mapping, key_is_next;
    } level[YAML_DEPTH_MAX + 1]; /* [0]: the document */
};

static uint32_t line_of(yaml_mark_t mark)
{
    return (uint32_t)mark.line + 1;
}

static enum err refuse(const struct walk *w, yaml_mark_t at, const char *what)
{
    explain(w->why, "line %u: %s", line_of(at), what);
    return ERR_MALFORMED;
}

/* A node ends or a scalar stands: in a mapping, keys and values alternate. */
static void step_over(struct walk *w)
{
    if (w->level[w->depth].is_mapping) {
        w->level[w->depth].key_is_next = !w->level[w->depth].key_is_next;
    }
}

static enum err on_scalar(struct walk *w, const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value;
    size_t n = e->data.scalar.length;

    if (e->data.scalar.anchor != NULL || e->data.scalar.tag != NULL) {
        return refuse(w, e->start_mark, "anchors and tags are not permitted; write the value out");
    }
    if (memchr(text, '\0', n) != NULL) {
        return refuse(w, e->start_mark, "a zero byte inside a value is not permitted; remove it");
    }
    if (w->level[w->depth].key_is_next) {
        struct yaml_scan *s = w->scan;

        if (s->keys_n == YAML_KEYS_MAX) {
            return refuse(w, e->start_mark, "too many keys; is it the right file?");
        }
        if (n > YAML_KEY_LEN) {
            n = YAML_KEY_LEN;
        }
        memcpy(s->keys[s->keys_n].name, text, n);
        s->keys[s->keys_n].name[n] = '\0';
        s->keys[s->keys_n++].line = line_of(e->start_mark);
    }
    step_over(w);
    return OK;
}

static enum err on_open(struct walk *w, const yaml_event_t *e)
{
    bool is_mapping = e->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *anchor =
        is_mapping ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    const yaml_char_t *tag = is_mapping ? e->data.mapping_start.tag : e->data.sequence_start.tag;

    if (anchor != NULL || tag != NULL) {
        return refuse(w, e->start_mark, "anchors and tags are not permitted; write the value out");
    }
    if (w->level[w->depth].key_is_next) {
        return refuse(w, e->start_mark, "a key must be a plain word");
    }
    if (w->depth == YAML_DEPTH_MAX) {
        return refuse(w, e->start_mark, "nested too deeply; check indentation and brackets");
    }
    w->depth++;
    w->level[w->depth].is_mapping = is_mapping;
    w->level[w->depth].key_is_next = is_mapping;
    return OK;
}

static enum err on_event(struct walk *w, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (w->documents++ > 0) {
            return refuse(w, e->start_mark, "a second document; permitted is one in a file");
        }
        return OK;
    case YAML_ALIAS_EVENT:
        return refuse(w, e->start_mark, "aliases are not permitted; write the value out");
    case YAML_SCALAR_EVENT:
        return on_scalar(w, e);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return on_open(w, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        w->depth--;
        step_over(w);
        return OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return OK;
    }
    return OK;
}

RESULT yaml_scan(const char *text, size_t n, struct yaml_scan *ret, struct explain *why)
{
    struct yaml_scan scan = {0};
    struct walk w = {.scan = &scan, .why = why};
    enum err err = OK;
    bool at_end = false;
    yaml_parser_t parser;

    if (yaml_parser_initialize(&parser) == 0) {
        explain(why, "out of memory");
        return ERR_MALFORMED;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
    while (err == OK && !at_end) {
        yaml_event_t event;

        if (yaml_parser_parse(&parser, &event) == 0) {
            explain(why, "line %u: not YAML: %s; check indentation, quotes and brackets",
                    line_of(parser.problem_mark),
                    parser.problem == NULL ? "unreadable" : parser.problem);
            err = ERR_MALFORMED;
            break;
        }
        at_end = event.type == YAML_STREAM_END_EVENT;
        err = on_event(&w, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (err == OK && w.documents == 0) {
        explain(why, "the file is empty");
        err = ERR_MALFORMED;
    }
    if (err == OK) {
        *ret = scan;
    }
    return err;
}

uint32_t yaml_scan_line(const struct yaml_scan *s, const char *key, uint32_t nth)
{
    for (uint32_t i = 0; i < s->keys_n; i++) {
        if (strncmp(s->keys[i].name, key, YAML_KEY_LEN) == 0 && nth-- == 0) {
            return s->keys[i].line;
        }
    }
    return 0;
}
