#include "crc32c.h"

#include <isa-l/crc.h>

/* ISA-L takes the length as an int. */
#define CHUNK_SIZE_MAX ((size_t)1 << 30)

/*
 * Polynomials over GF(2), of degree below 32, with the bits the way the CRC has them: the highest bit is the
 * coefficient of x^0, the lowest that of x^31. CASTAGNOLI is the polynomial that all is reduced by, without
 * its x^32.
 */
#define X_TO_0     (UINT32_C(1) << 31)
#define X_TO_8     (UINT32_C(1) << (31 - 8))
#define CASTAGNOLI UINT32_C(0x82f63b78)

uint32_t crc32c_update(uint32_t crc, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;

    /* ISA-L leaves the inversion before and behind to its caller, and does not write to the buffer. */
    crc = ~crc;
    while (len != 0) {
        size_t chunk = len < CHUNK_SIZE_MAX ? len : CHUNK_SIZE_MAX;
        crc = crc32_iscsi((unsigned char *)at, (int)chunk, crc);
        at += chunk;
        len -= chunk;
    }
    return ~crc;
}

static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0, term;

    for (term = X_TO_0; term != 0; term >>= 1) {
        if ((a & term) != 0)
            product ^= b;
        b = (b & 1) != 0 ? (b >> 1) ^ CASTAGNOLI : b >> 1; /* times x */
    }
    return product;
}

/* x^(8 * bytes), by squaring. */
static uint32_t x_to_bytes(uint64_t bytes)
{
    uint32_t power = X_TO_0, square = X_TO_8;

    for (; bytes != 0; bytes >>= 1) {
        if ((bytes & 1) != 0)
            power = multiply(power, square);
        square = multiply(square, square);
    }
    return power;
}

/*
 * A CRC is a remainder, and bytes appended to a message multiply it by x^8 each before they are added. So the
 * first CRC is multiplied by as much, and the second added; the inversions of the three cancel each other. It
 * is the method of zlib's crc32_combine(), which describes it at length.
 */
uint32_t crc32c_combine(uint32_t first, uint32_t second, uint64_t second_len)
{
    return multiply(x_to_bytes(second_len), first) ^ second;
}
