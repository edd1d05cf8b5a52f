#ifndef CEPH_LB_DIGEST_H
#define CEPH_LB_DIGEST_H

/*
 * Digests of a file's bytes, and the HTTP fields that carry them: Repr-Digest and Content-Digest, the fields
 * that say what is wanted of them (all RFC 9530, in the syntax of RFC 8941's Dictionary), and Content-MD5
 * (RFC 1864).
 *
 * Pure functions, any thread. A sentence about a field that cannot be used is valid until the same thread
 * gets the next one; what was to be filled is then partly filled.
 */

#include <stdint.h>

#include "buffer.h"
#include "slice.h"

enum digest_algorithm { DIGEST_CRC32C, DIGEST_SHA_256, DIGEST_MD5, DIGEST_COUNT };

#define DIGEST_SIZE_MAX 32

/* A set of algorithms is an unsigned with one bit for each. */
#define DIGEST_BIT(algorithm) (1u << (algorithm))

struct digests {
    unsigned known;                                     /* of which algorithms there is a value */
    unsigned char value[DIGEST_COUNT][DIGEST_SIZE_MAX]; /* of CRC32C: big-endian */
};

/* Zeros mean that nothing is wanted. */
struct digest_preferences {
    unsigned char weight[DIGEST_COUNT]; /* 0: not wanted, to 10: the most preferred */
};

size_t digest_size(enum digest_algorithm algorithm);      /* bytes of the value */
const char *digest_name(enum digest_algorithm algorithm); /* as the fields have it: "sha-256" */

/*
 * Adds what a Repr-Digest or Content-Digest says; algorithms that are not known here are passed over. NULL,
 * or a sentence for the client that names the field and says what is wrong with it. A value that differs from
 * one that is known already is wrong, too, whether that came from this field or from another: RFC 8941 would
 * take the last of two members, but whoever contradicts himself about a file had better be told.
 */
const char *digests_take_field(struct slice field, const char *field_name, struct digests *digests);

/* Likewise, from a Content-MD5. */
const char *digests_take_content_md5(struct slice field, struct digests *digests);

void digests_set_crc32c(struct digests *digests, uint32_t crc);

/*
 * Adds what a Want-Repr-Digest or Want-Content-Digest says; of two preferences for one algorithm the last
 * counts. NULL, or a sentence as above.
 */
const char *digest_preferences_take(struct slice field, const char *field_name,
                                    struct digest_preferences *preferences);

/*
 * Appends the value of a Repr-Digest: of what is known all that is wanted, the most preferred first. Without
 * preferences (NULL) that is everything but MD5. Appends nothing when nothing is left, and then the field
 * must not be sent.
 */
void digests_format(const struct digests *digests, const struct digest_preferences *preferences,
                    struct buffer *to);

/* Appends one value, which must be known: that of MD5 makes a Content-MD5. */
void digest_append_base64(const struct digests *digests, enum digest_algorithm algorithm, struct buffer *to);

/* The first algorithm whose claimed value is not the computed one, or -1. What was claimed but not computed
 * has not been verified, and counts as different. */
int digests_compare(const struct digests *claimed, const struct digests *computed);

/* Digests of bytes that come piece by piece. Used by one thread at a time; ended by digest_finish() or
 * digest_abandon(), which free it. Memory that runs out ends the process (see xalloc.h). */
struct digest_context;

struct digest_context *digest_begin(unsigned algorithms); /* bits */
void digest_update(struct digest_context *context, const void *bytes, size_t len);
void digest_finish(struct digest_context *context, struct digests *digests); /* overwrites all of *digests */
void digest_abandon(struct digest_context *context);                         /* NULL will do */

#endif
