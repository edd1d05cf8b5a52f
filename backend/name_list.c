#include "name_list.h"

#include <stdint.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "name.h"

/*
 * The tree of yajl would do, but for a NUL in a string (\u0000): there it ends strings, and another file would be meant. So
 * the parser's events are taken, and whatever comes at a wrong place ends it.
 */
enum place { BEFORE_LIST, IN_LIST, IN_OBJECT, BEFORE_VALUE, BEHIND_VALUE, BEHIND_LIST };

struct parsing {
    struct name_list *list;
    struct buffer *problem;
    enum place place;
    enum name_list_result result;
};

/* These return what tells yajl to end. */
static int refuse(struct parsing *parsing, enum name_list_result result, const char *text)
{
    parsing->result = result;
    if (parsing->place != BEFORE_LIST)
        buffer_printf(parsing->problem, "Entry %zu of the list, counted from 0: ", parsing->list->count);
    buffer_append_text(parsing->problem, text);
    return 0;
}

static int refuse_place(struct parsing *parsing)
{
    if (parsing->place == BEFORE_LIST)
        return refuse(parsing, NAME_LIST_MALFORMED, "The body has to be a JSON array of names.");
    return refuse(parsing, NAME_LIST_MALFORMED,
                  "It has to be a string, or an object {\"name_encoded\": \"…\"} with nothing else in it.");
}

static int take_name(struct parsing *parsing, struct slice text, bool encoded)
{
    struct name_list *list = parsing->list;
    size_t begin = list->bytes.len;
    const char *problem;
    struct slice name;

    if (list->count == NAME_LIST_MAX)
        return refuse(parsing, NAME_LIST_MALFORMED, "There may be 1000 names at most.");
    if (!encoded)
        buffer_append_slice(&list->bytes, text);
    else if (!percent_decode(text, PERCENT_PLUS_IS_PLUS, &list->bytes))
        return refuse(parsing, NAME_LIST_BAD_NAME,
                      "The name has a % that is not followed by two hexadecimal digits.");
    name = buffer_slice(&list->bytes);
    name.base += begin;
    name.len -= begin;
    problem = name_problem(name);
    if (problem != NULL)
        return refuse(parsing, NAME_LIST_BAD_NAME, problem);
    list->ends[list->count++] = list->bytes.len;
    return 1;
}

/* ---- yajl's events ---- */

static int on_begin_list(void *context)
{
    struct parsing *parsing = context;

    if (parsing->place != BEFORE_LIST)
        return refuse_place(parsing);
    parsing->place = IN_LIST;
    return 1;
}

static int on_end_list(void *context)
{
    ((struct parsing *)context)->place = BEHIND_LIST;
    return 1;
}

static int on_begin_object(void *context)
{
    struct parsing *parsing = context;

    if (parsing->place != IN_LIST)
        return refuse_place(parsing);
    parsing->place = IN_OBJECT;
    return 1;
}

static int on_key(void *context, const unsigned char *key, size_t len)
{
    struct parsing *parsing = context;

    if (parsing->place != IN_OBJECT || !slice_is((struct slice){(const char *)key, len}, "name_encoded"))
        return refuse_place(parsing);
    parsing->place = BEFORE_VALUE;
    return 1;
}

static int on_end_object(void *context)
{
    struct parsing *parsing = context;

    if (parsing->place != BEHIND_VALUE)
        return refuse_place(parsing);
    parsing->place = IN_LIST;
    return 1;
}

static int on_string(void *context, const unsigned char *text, size_t len)
{
    struct parsing *parsing = context;
    bool encoded = parsing->place == BEFORE_VALUE;

    if (parsing->place != IN_LIST && !encoded)
        return refuse_place(parsing);
    if (encoded)
        parsing->place = BEHIND_VALUE;
    return take_name(parsing, (struct slice){(const char *)text, len}, encoded);
}

static int on_null(void *context)
{
    return refuse_place(context);
}

static int on_boolean(void *context, int value)
{
    (void)value;
    return refuse_place(context);
}

static int on_number(void *context, const char *text, size_t len)
{
    (void)text;
    (void)len;
    return refuse_place(context);
}

/* ---- what yajl lets pass ---- */

/* The number behind "\\u" at the front of the text, or -1. */
static long unicode_escape(struct slice text)
{
    long number = 0;
    int i;

    if (text.len < 6 || text.base[0] != '\\' || text.base[1] != 'u')
        return -1;
    for (i = 2; i < 6; i++) {
        const char *digits = "0123456789abcdef", *digit = strchr(digits, text.base[i] | 0x20);

        if (digit == NULL)
            return -1;
        number = number * 16 + (digit - digits);
    }
    return number;
}

/* The place of an escape \uD800 to \uDFFF that is not part of a pair: it stands for no character, and yajl makes "?" or
 * worse of it, which would be another file. SIZE_MAX when there is none. */
static size_t find_half_pair(struct slice json)
{
    size_t at = 0;

    while (at < json.len) {
        struct slice rest = {json.base + at, json.len - at};
        long first = unicode_escape(rest), second;

        if (first >= 0xd800 && first <= 0xdfff) {
            rest.base += 6;
            rest.len -= 6;
            second = unicode_escape(rest);
            if (first >= 0xdc00 || second < 0xdc00 || second > 0xdfff)
                return at;
            at += 12;
        } else {
            at += json.base[at] == '\\' ? 2 : 1;
        }
    }
    return SIZE_MAX;
}

/* ---- the list ---- */

enum name_list_result name_list_parse(struct slice json, struct name_list *list, struct buffer *problem)
{
    static const yajl_callbacks callbacks = {.yajl_null = on_null,
                                             .yajl_boolean = on_boolean,
                                             .yajl_number = on_number,
                                             .yajl_string = on_string,
                                             .yajl_start_map = on_begin_object,
                                             .yajl_map_key = on_key,
                                             .yajl_end_map = on_end_object,
                                             .yajl_start_array = on_begin_list,
                                             .yajl_end_array = on_end_list};
    struct parsing parsing = {list, problem, BEFORE_LIST, NAME_LIST_OK};
    size_t half_pair = find_half_pair(json);
    yajl_handle parser;
    yajl_status status;

    list->count = 0;
    list->bytes = (struct buffer){NULL, 0, 0};
    if (half_pair != SIZE_MAX) {
        buffer_printf(problem, "The body has half of a surrogate pair, at byte %zu.", half_pair);
        return NAME_LIST_BAD_NAME;
    }
    parser = yajl_alloc(&callbacks, NULL, &parsing);
    status = yajl_parse(parser, (const unsigned char *)json.base, json.len);
    if (status == yajl_status_ok)
        status = yajl_complete_parse(parser);
    if (status != yajl_status_ok && parsing.result == NAME_LIST_OK) {
        parsing.result = NAME_LIST_MALFORMED;
        buffer_printf(problem, "The body is not JSON, at byte %zu.", yajl_get_bytes_consumed(parser));
    }
    yajl_free(parser);
    return parsing.result;
}

struct slice name_list_at(const struct name_list *list, size_t index)
{
    size_t begin = index != 0 ? list->ends[index - 1] : 0;

    return (struct slice){list->bytes.base + begin, list->ends[index] - begin};
}

void name_list_free(struct name_list *list)
{
    buffer_free(&list->bytes);
    list->count = 0;
}
