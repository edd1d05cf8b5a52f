#ifndef CEPH_LB_BUFFER_H
#define CEPH_LB_BUFFER_H

/*
 * A growing run of bytes that its owner frees. Memory that runs out ends the process (see xalloc.h), so
 * nothing here fails; what bounds the size is the caller's business.
 */

#include <stddef.h>

#include "slice.h"

struct buffer {
    char *base; /* NULL while empty; always followed by a NUL that len does not count */
    size_t len;
    size_t capacity;
};

void buffer_append(struct buffer *buffer, const void *bytes, size_t len);
void buffer_append_slice(struct buffer *buffer, struct slice slice);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_printf(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_free(struct buffer *buffer);

static inline struct slice buffer_slice(const struct buffer *buffer)
{
    return (struct slice){buffer->base != NULL ? buffer->base : "", buffer->len};
}

#endif
