#define _GNU_SOURCE
#include "json.h"

#include <stdlib.h>
#include <stdio.h>

#include "name.h"
#include "xalloc.h"

yajl_gen json_begin(void)
{
    yajl_gen gen = yajl_gen_alloc(NULL);

    if (gen == NULL)
        abort();
    yajl_gen_config(gen, yajl_gen_beautify, 1);
    yajl_gen_config(gen, yajl_gen_indent_string, "  ");
    return gen;
}

void json_finish(yajl_gen gen, struct buffer *to)
{
    const unsigned char *text;
    size_t len;

    yajl_gen_get_buf(gen, &text, &len);
    buffer_append(to, text, len);
    yajl_gen_free(gen);
}

void json_string(yajl_gen gen, struct slice text)
{
    struct buffer repaired = {NULL, 0, 0};

    if (!utf8_is_valid(text)) {
        utf8_repair(text, &repaired);
        text = buffer_slice(&repaired);
    }
    yajl_gen_string(gen, (const unsigned char *)(text.base != NULL ? text.base : ""), text.len);
    buffer_free(&repaired);
}

void json_text(yajl_gen gen, const char *text)
{
    json_string(gen, slice_of(text));
}

void json_member_string(yajl_gen gen, const char *key, struct slice value)
{
    json_text(gen, key);
    json_string(gen, value);
}

void json_member_text(yajl_gen gen, const char *key, const char *value)
{
    json_member_string(gen, key, slice_of(value));
}

void json_member_number(yajl_gen gen, const char *key, int64_t value)
{
    json_text(gen, key);
    yajl_gen_integer(gen, value);
}

void json_member_name(yajl_gen gen, const char *key, struct slice name)
{
    struct buffer text = {NULL, 0, 0}, encoded_key = {NULL, 0, 0};

    json_member_string(gen, key, name);
    if (utf8_is_valid(name))
        return;
    buffer_printf(&encoded_key, "%s_encoded", key);
    percent_encode(name, true, &text);
    json_member_string(gen, encoded_key.base, buffer_slice(&text));
    buffer_free(&encoded_key);
    buffer_free(&text);
}

#define PATH_DEPTH_MAX 8

yajl_val json_at(yajl_val node, const char *path)
{
    const char *keys[PATH_DEPTH_MAX + 1];
    char *copy = xstrdup(path), *rest = copy, *key;
    size_t depth = 0;
    yajl_val found;

    while (depth < PATH_DEPTH_MAX && (key = strsep(&rest, ".")) != NULL)
        keys[depth++] = key;
    keys[depth] = NULL;
    found = node != NULL && rest == NULL ? yajl_tree_get(node, keys, yajl_t_any) : NULL;
    free(copy);
    return found;
}

int64_t json_number_at(yajl_val node, const char *path, int64_t otherwise)
{
    yajl_val found = json_at(node, path);

    if (YAJL_IS_INTEGER(found))
        return YAJL_GET_INTEGER(found);
    if (!YAJL_IS_DOUBLE(found))
        return otherwise;
    /* A number that 64 bits with a sign cannot hold, as Ceph may count without one. */
    if (YAJL_GET_DOUBLE(found) >= 9.2e18)
        return INT64_MAX;
    return YAJL_GET_DOUBLE(found) > -9.2e18 ? (int64_t)YAJL_GET_DOUBLE(found) : INT64_MIN;
}

const char *json_text_at(yajl_val node, const char *path, const char *otherwise)
{
    yajl_val found = json_at(node, path);
    return YAJL_IS_STRING(found) ? YAJL_GET_STRING(found) : otherwise;
}
