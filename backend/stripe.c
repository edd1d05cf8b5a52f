#include "stripe.h"

#include <inttypes.h>
#include <stdio.h>

#include "crc32c.h"
#include "little_endian.h"

#define CHECKSUM_SIZE 4

void stripe_object(const char *uid, uint64_t number, char object[STRIPE_OBJECT_SIZE])
{
    snprintf(object, STRIPE_OBJECT_SIZE, "%s.%" PRIu64, uid, number);
}

/* Cuts the next block off. */
static struct slice next_block(struct slice *rest)
{
    struct slice block = {rest->base, rest->len < STRIPE_BLOCK_SIZE ? rest->len : STRIPE_BLOCK_SIZE};

    rest->base += block.len;
    rest->len -= block.len;
    return block;
}

size_t stripe_checksums_size(uint64_t len)
{
    return (size_t)(len / STRIPE_BLOCK_SIZE + (len % STRIPE_BLOCK_SIZE != 0)) * CHECKSUM_SIZE;
}

uint32_t stripe_checksums(struct slice content, struct buffer *to)
{
    uint32_t whole = 0;

    while (content.len != 0) {
        struct slice block = next_block(&content);
        uint32_t crc = crc32c_update(0, block.base, block.len);

        little_endian_append(to, crc, CHECKSUM_SIZE);
        whole = crc32c_combine(whole, crc, block.len);
    }
    return whole;
}

bool stripe_check(struct slice checksums, uint64_t first_block, struct slice bytes, uint64_t *bad_block)
{
    uint64_t count = checksums.len / CHECKSUM_SIZE;

    for (*bad_block = first_block; bytes.len != 0; (*bad_block)++) {
        struct slice block = next_block(&bytes);

        if (*bad_block >= count ||
            little_endian_read(checksums.base + *bad_block * CHECKSUM_SIZE, CHECKSUM_SIZE) !=
                crc32c_update(0, block.base, block.len))
            return false;
    }
    return true;
}
