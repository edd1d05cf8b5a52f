#ifndef CEPH_LB_FIELD_H
#define CEPH_LB_FIELD_H

/*
 * What the larger stored formats are made of: fields, each one
 *
 *     id      1 byte
 *     length  4 bytes, little-endian
 *     value   `length` bytes
 *
 * Pure functions, any thread.
 */

#include <stdint.h>

#include "buffer.h"

struct field {
    int id;
    struct slice value; /* points into what is read */
};

void field_append(struct buffer *to, int id, struct slice value);
void field_append_number(struct buffer *to, int id, uint64_t number); /* 8 bytes, little-endian */

/* For a value that is put together: its `length` bytes have to follow. */
void field_append_header(struct buffer *to, int id, size_t length);

/* Cuts the next field off *rest. False when there is no whole one; *rest is not empty then if the bytes are damaged. */
bool field_next(struct slice *rest, struct field *field);

/* The value of a field that was written by field_append_number. False when it has another length. */
bool field_number(struct slice value, uint64_t *number);

#endif
