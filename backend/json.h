#ifndef CEPH_LB_JSON_H
#define CEPH_LB_JSON_H

/* A little on top of yajl: generating with our own types, and walking a parsed tree. */

#include <stdint.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_tree.h>

#include "buffer.h"
#include "slice.h"

/* A generator of indented JSON; ended by json_finish or yajl_gen_free. */
yajl_gen json_begin(void);

/* Appends what was generated, and a line break, to *to; frees the generator. */
void json_finish(yajl_gen gen, struct buffer *to);

/* A string; bytes that are not UTF-8 become U+FFFD, since JSON cannot carry them. */
void json_string(yajl_gen gen, struct slice text);
void json_text(yajl_gen gen, const char *text);

/* Members of an object. */
void json_member_string(yajl_gen gen, const char *key, struct slice value);
void json_member_text(yajl_gen gen, const char *key, const char *value);
void json_member_number(yajl_gen gen, const char *key, int64_t value);

/*
 * A member whose value is a file's name: `key`, and where the name is not UTF-8 also `key`_encoded, which
 * holds the exact bytes percent-encoded.
 */
void json_member_name(yajl_gen gen, const char *key, struct slice name);

/* The value at a path of keys ("a.b.c") below `node`, NULL when it is not there. Numbers and strings with a
 * default. */
yajl_val json_at(yajl_val node, const char *path);
int64_t json_number_at(yajl_val node, const char *path, int64_t otherwise);
const char *json_text_at(yajl_val node, const char *path, const char *otherwise);

#endif
