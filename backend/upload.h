#ifndef CEPH_LB_UPLOAD_H
#define CEPH_LB_UPLOAD_H

/*
 * An upload in parts: what RADOS keeps of it until it is published. It lies in the object UID of the namespace "upload";
 * the parts themselves are the stripes UID.N. The object's data, version 1, is 'U' 0x01, then fields
 * (field.h):
 *
 *     id  value
 *     1   the file's name
 *     2   size of a part in bytes, 8 bytes little-endian
 *     3   size of the file in bytes, if it was declared, likewise
 *     4   a manifest (manifest.h) with what is known of the file; its size is 0
 *     8   when it was claimed (gc.h), in nanoseconds since 1970 UTC, likewise
 *     5   If-Match as it was given, 6 If-None-Match, 7 If-Unmodified-Since; each of them only if it was
 *
 * omap: the number of a part in 8 decimal digits → its size, 8 bytes little-endian, and its CRC-32C, 4 bytes little-endian.
 * The xattr "published", once it has been: size, 8 bytes, and time, 8 bytes, little-endian, then the entity tag.
 */

#include "condition.h"
#include "digest.h"
#include "manifest.h"

#define UPLOAD_PARTS_MOST_UNDECLARED 10000
#define UPLOAD_PART_SIZE_MOST        (UINT64_C(64) << 20)
#define UPLOAD_FILE_SIZE_MOST        (UINT64_C(5) << 40)

#define UPLOAD_XATTR_PUBLISHED "published"

struct upload_record {
    struct slice name;
    uint64_t part_size;
    int64_t claimed_ns;
    bool declared; /* the size is known */
    uint64_t size;
    struct manifest manifest;
    struct conditions conditions;
};

void upload_record_encode(const struct upload_record *record, struct buffer *to);

/* The slices point into `bytes`. False when the bytes are damaged or of another version. */
bool upload_record_decode(struct slice bytes, struct upload_record *record);

/* The size of a part: `least`, or for a declared size that would need more than 10,000 of them the next power of two. */
uint64_t upload_part_size(uint64_t least, bool declared, uint64_t size);

/* How many parts there can be at most. */
uint64_t upload_parts_most(const struct upload_record *record);

/* NULL, or a sentence why a part of this number and length cannot belong to the upload. */
const char *upload_part_problem(const struct upload_record *record, uint64_t number, uint64_t len);

struct upload_part {
    uint64_t number, size;
    uint32_t crc32c;
};

#define UPLOAD_PART_KEY_SIZE 21
void upload_part_key(uint64_t number, char key[UPLOAD_PART_KEY_SIZE]);
void upload_part_encode(const struct upload_part *part, struct buffer *to);
bool upload_part_decode(struct slice key, struct slice value, struct upload_part *part);

/*
 * Compares the parts, in the order of their numbers, with what a file of this size needs. Up to `most` numbers of those that
 * are missing, or whose size is wrong, go to `numbers`; both counts are told whole. True when there are none of either.
 */
struct upload_gaps {
    uint64_t missing, wrong;
    size_t missing_told, wrong_told;
    uint64_t missing_numbers[1000], wrong_numbers[1000];
};
bool upload_is_complete(uint64_t part_size, uint64_t size, const struct upload_part *parts, size_t count,
                        struct upload_gaps *gaps);

/* What the client says to publish: {"size": N} and, optionally, "repr_digest": the value of a Repr-Digest. NULL, or a
 * sentence about what is wrong, valid until the same thread gets the next one. */
const char *upload_parse_publication(struct slice body, uint64_t *size, struct digests *claimed);

#endif
