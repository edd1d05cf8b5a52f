#ifndef CEPH_LB_NAME_LIST_H
#define CEPH_LB_NAME_LIST_H

/*
 * A list of names in JSON: an array whose entries are strings, or for names that JSON cannot carry, objects
 * {"name_encoded": "…"} with the name percent-encoded, as listings show them.
 */

#include "buffer.h"
#include "slice.h"

#define NAME_LIST_MAX 1000

struct name_list {
    size_t count;
    size_t ends[NAME_LIST_MAX]; /* where each name ends in `bytes` */
    struct buffer bytes;        /* the names, one behind the other */
};

enum name_list_result { NAME_LIST_OK, NAME_LIST_MALFORMED, NAME_LIST_BAD_NAME };

/* Fills *list, to be freed with name_list_free in any case. Unless the result is OK, a sentence that says what is wrong is
 * appended to *problem. */
enum name_list_result name_list_parse(struct slice json, struct name_list *list, struct buffer *problem);

struct slice name_list_at(const struct name_list *list, size_t index);
void name_list_free(struct name_list *list);

#endif
