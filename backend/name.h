#ifndef CEPH_LB_NAME_H
#define CEPH_LB_NAME_H

/*
 * Names of files, and the percent-encoding (RFC 3986, 2.1) that carries them in URLs.
 *
 * A name is 1 to NAME_SIZE_MAX bytes, any byte but NUL. It is also, byte for byte, the name of the RADOS
 * object.
 * "/", "//", "." and ".." are ordinary parts of a name, so a path is never normalised.
 */

#include "buffer.h"
#include "slice.h"

#define NAME_SIZE_MAX 1024

enum percent_plus {
    PERCENT_PLUS_IS_PLUS,  /* a path: "+" stands for itself */
    PERCENT_PLUS_IS_SPACE, /* a query, as HTML forms write it: "+" stands for a space */
};

/* Appends the decoded bytes. False when a "%" is not followed by two hexadecimal digits; `to` is then partly
 * filled. */
bool percent_decode(struct slice encoded, enum percent_plus plus, struct buffer *to);

/* Encodes every byte but RFC 3986's unreserved ones; "/" is kept where keep_slash says so. */
void percent_encode(struct slice bytes, bool keep_slash, struct buffer *to);

/* Appends the name as a line of text; a line break inside it is percent-encoded, since it would make two of one. */
void name_append_line(struct slice name, struct buffer *to);

/* NULL when the name can be used, else a sentence for the client that says why not. */
const char *name_problem(struct slice name);

/* True for well-formed UTF-8 (RFC 3629: no surrogates, nothing overlong), which is what JSON can carry. */
bool utf8_is_valid(struct slice bytes);

/* The same bytes with each one that breaks UTF-8 replaced by U+FFFD. */
void utf8_repair(struct slice bytes, struct buffer *to);

#endif
