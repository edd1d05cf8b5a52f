#ifndef CEPH_LB_CRC32C_H
#define CEPH_LB_CRC32C_H

/*
 * CRC-32C, the checksum of RFC 3720 (Castagnoli's polynomial). The CRC of nothing is 0, that of "123456789"
 * is 0xe3069283. Pure functions, any thread.
 */

#include <stddef.h>
#include <stdint.h>

/* The CRC of what `crc` was computed of, followed by these bytes. `bytes` may be NULL when `len` is 0. */
uint32_t crc32c_update(uint32_t crc, const void *bytes, size_t len);

/* The CRC of two runs of bytes, one behind the other, from the CRC of each; `second_len` is in bytes. Takes
 * microseconds whatever the length. */
uint32_t crc32c_combine(uint32_t first, uint32_t second, uint64_t second_len);

#endif
