#ifndef CEPH_LB_FORM_H
#define CEPH_LB_FORM_H

/*
 * multipart/form-data (RFC 7578 over RFC 2046), parsed in place: the whole body is in memory, and what is
 * found are slices of it. Each part with a filename is a file; other fields are passed over.
 *
 * The filename follows what clients really send: a quoted string in which %22, %0D and %0A stand for the
 * three bytes that browsers and curl cannot write there (HTML standard, "multipart/form-data encoding
 * algorithm"), and a backslash before a quote or a backslash escapes it, as older clients do.
 */

#include "buffer.h"
#include "slice.h"

#define FORM_FILES_MAX     1000
#define FORM_PART_HEAD_MAX 16384
#define FORM_BOUNDARY_MAX  70 /* RFC 2046, 5.1.1 */

struct form_file {
    struct slice name;       /* decoded; points into the form's own storage */
    struct slice media_type; /* absent when the part has none; without control characters, but tabs */
    struct slice content;    /* points into the body */
};

struct form {
    size_t count;
    struct form_file *files;
    char **names; /* owned: the storage behind files[i].name */
};

/* The boundary of a Content-Type field, absent when the media type is not multipart/form-data. `*problem` is
 * set to a sentence when it is, but its boundary parameter is missing or wrong. */
struct slice form_boundary(struct slice content_type, const char **problem);

/* Told of each part of the body that has been searched, so that a large body need not be in memory as a whole. */
typedef void form_searched(void *context, struct slice part);

/* NULL and a filled *form (to be freed), or a sentence that says what is wrong with the body, and an empty
 * *form. `searched` may be NULL. */
const char *form_parse(struct slice body, struct slice boundary, form_searched *searched, void *context,
                       struct form *form);

void form_free(struct form *form);

#endif
