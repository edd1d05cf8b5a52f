#ifndef CEPH_LB_MANIFEST_H
#define CEPH_LB_MANIFEST_H

/*
 * The manifest of a file: what is known of it beside its bytes, kept in the xattr "manifest" of its head.
 *
 * Format, version 1: the two bytes 'M' 0x01, then fields (field.h):
 *
 *     id  value
 *     1   size of the file in bytes, 8 bytes little-endian; exactly once
 *     2   time of the last change in nanoseconds since 1970 UTC, 8 bytes little-endian, signed; exactly once
 *     3   media type; at most once
 *     4   one metadata field: name in lower case without "x-meta-", NUL, value; any number of times
 *     5   size of a stripe in bytes, 8 bytes little-endian, not 0; present when the content lies in stripes
 *     6   when the file ceases to be, in nanoseconds since 1970 UTC, 8 bytes little-endian, not 0; at most once
 *     129 CRC-32C of the content, 4 bytes big-endian; at most once, and so are the next two
 *     130 SHA-256 of the content, 32 bytes
 *     131 MD5 of the content, 16 bytes
 *
 * A reader skips ids from 128 up that it does not know, and refuses unknown ones below: they change the
 * meaning.
 */

#include <stdint.h>

#include "buffer.h"
#include "digest.h"
#include "slice.h"
#include "stripe.h"

#define METADATA_FIELDS_MAX 64
#define METADATA_SIZE_MAX   8192 /* all names and values together */
#define MEDIA_TYPE_SIZE_MAX 255

struct metadata_field {
    struct slice name; /* lower case, without the "x-meta-" before it */
    struct slice value;
};

struct manifest {
    uint64_t size;
    int64_t modified_ns;
    uint64_t stripe_size;    /* 0: the content lies in the head itself */
    int64_t expires_ns;      /* 0: never */
    struct digests digests;  /* of the content, as far as they are known */
    struct slice media_type; /* absent when none is known */
    size_t metadata_count;
    struct metadata_field metadata[METADATA_FIELDS_MAX];
};

/* How many stripes the content has; 0 when it lies in the head itself. */
static inline uint64_t manifest_stripe_count(const struct manifest *manifest)
{
    if (manifest->stripe_size == 0)
        return 0;
    return stripe_count(manifest->size, manifest->stripe_size);
}

static inline bool manifest_is_expired(const struct manifest *manifest, int64_t now_ns)
{
    return manifest->expires_ns != 0 && manifest->expires_ns <= now_ns;
}

/* Appends the encoded form. */
void manifest_encode(const struct manifest *manifest, struct buffer *to);

/* The slices of *manifest point into `bytes`. False when the bytes are damaged or of a version that this
 * program does not know. */
bool manifest_decode(struct slice bytes, struct manifest *manifest);

#endif
