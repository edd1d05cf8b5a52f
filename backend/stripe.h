#ifndef CEPH_LB_STRIPE_H
#define CEPH_LB_STRIPE_H

/*
 * Stripes: the RADOS objects that hold the content of larger files. Each is written once, as a whole, with the xattr
 * "crc32c": for each block of 256 KiB, the last one may be shorter, its CRC-32C in 4 bytes little-endian. So whoever
 * reads whole blocks can verify them, whatever the size of the stripe.
 */

#include <stdint.h>

#include "buffer.h"
#include "slice.h"

#define STRIPE_BLOCK_SIZE      (256 * 1024)
#define STRIPE_XATTR_CHECKSUMS "crc32c"

/* How many stripes a content has. */
static inline uint64_t stripe_count(uint64_t size, uint64_t stripe_size)
{
    return size / stripe_size + (size % stripe_size != 0);
}

/* The name of a stripe: "UID.N". */
#define STRIPE_OBJECT_SIZE (32 + 22)
void stripe_object(const char *uid, uint64_t number, char object[STRIPE_OBJECT_SIZE]);

/* How many bytes the checksums of a stripe of `len` bytes take. */
size_t stripe_checksums_size(uint64_t len);

/* Appends the checksums of a stripe with this content, and returns the CRC-32C of all of it. */
uint32_t stripe_checksums(struct slice content, struct buffer *to);

/*
 * Verifies some whole blocks of a stripe, from the one numbered first_block on; only the last block of a stripe may be
 * shorter than the others. False when the checksums do not fit to these bytes; *bad_block is the first one.
 */
bool stripe_check(struct slice checksums, uint64_t first_block, struct slice bytes, uint64_t *bad_block);

#endif
