/* For MAP_ANONYMOUS. */
#define _DEFAULT_SOURCE
#include "support.h"

#include <sys/mman.h>

#include "crc32c.h"

/* Bit by bit, as the polynomial says: slow and without any of what is tested. */
static uint32_t model(uint32_t crc, struct slice bytes)
{
    size_t i;
    int bit;

    crc = ~crc;
    for (i = 0; i < bytes.len; i++) {
        crc ^= (unsigned char)bytes.base[i];
        for (bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? (crc >> 1) ^ UINT32_C(0x82f63b78) : crc >> 1;
    }
    return ~crc;
}

static uint32_t crc_of(struct slice bytes)
{
    return crc32c_update(0, bytes.base, bytes.len);
}

/* RFC 3720, B.4, whose table has the bytes in the order in which they are sent: lowest first. */
static void test_known_values(void **state)
{
    static const unsigned char read_command[48] = {
        0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0,    0,
    };
    unsigned char bytes[32];
    unsigned i;

    (void)state;
    assert_int_equal(crc32c_update(0, NULL, 0), 0);
    assert_int_equal(crc_of(SLICE_LITERAL("123456789")), 0xe3069283);
    assert_int_equal(crc_of(SLICE_LITERAL("a")), 0xc1d04330);

    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc32c_update(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c_update(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(crc32c_update(0, bytes, sizeof(bytes)), 0x46dd794e);
    for (i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(31 - i);
    assert_int_equal(crc32c_update(0, bytes, sizeof(bytes)), 0x113fdb5c);
    assert_int_equal(crc32c_update(0, read_command, sizeof(read_command)), 0xd9963a56);
}

/* The machine code goes other ways for other lengths and alignments; the bytes end where the memory does. */
static void test_lengths_and_alignments(void **state)
{
    static const size_t lens[] = {511, 512, 1023, 1920, 1921, 3840, 3841, 4096, 5000, 65537};
    struct random random = random_seeded(1);
    struct buffer bytes = {NULL, 0, 0};
    size_t i, start;

    (void)state;
    random_append_bytes(&random, 66000, &bytes);
    for (i = 0; i < 300 + COUNT_OF(lens); i++) {
        size_t len = i < 300 ? i : lens[i - 300];

        for (start = 0; start < 16; start++) {
            char *copy = copy_exactly((struct slice){bytes.base, start + len});
            struct slice run = {copy + start, len};

            if (crc_of(run) != model(0, run))
                fail_msg("wrong for %zu bytes from %zu on", len, start);
            free(copy);
        }
    }
    buffer_free(&bytes);
}

static void test_update_goes_on(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 2000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer bytes = {NULL, 0, 0};
        uint32_t crc = 0;
        size_t done = 0;

        random_append_bytes(&random, 1 + random_below(&random, 3000), &bytes);
        while (done < bytes.len) {
            size_t piece = random_below(&random, bytes.len - done + 1);
            crc = crc32c_update(crc, bytes.base + done, piece);
            done += piece;
        }
        assert_seeded(crc == model(0, buffer_slice(&bytes)), seed);
        buffer_free(&bytes);
    }
}

/* More than an int can say. Only the last page is written to; the rest is one page of zeros many times over.
 * The numbers are the model's, which went on from what the matrices below say about 2^31 zeros. */
static void test_more_than_an_int(void **state)
{
    static const char end[] = "12345";
    size_t zeros_len = (size_t)1 << 31, len = zeros_len + strlen(end);
    char *bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    (void)state;
    assert_ptr_not_equal(bytes, MAP_FAILED);
    assert_int_equal(crc32c_update(0, bytes, len), 0x572a7c8a);
    memcpy(bytes + zeros_len, end, strlen(end));
    assert_int_equal(crc32c_update(0, bytes, len), 0xa89298a);
    munmap(bytes, len);
}

static void test_combine_random_splits(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 2000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer bytes = {NULL, 0, 0};
        size_t split;
        uint32_t first, second;

        random_append_bytes(&random, random_below(&random, 5000), &bytes);
        split = random_below(&random, bytes.len + 1);
        if (random_below(&random, 8) == 0)
            split = random_below(&random, 2) == 0 ? 0 : bytes.len;
        first = crc32c_update(0, bytes.base, split);
        second = crc32c_update(0, bytes.base + split, bytes.len - split);
        assert_seeded(crc32c_combine(first, second, bytes.len - split) == crc_of(buffer_slice(&bytes)), seed);
        buffer_free(&bytes);
    }
}

static void test_combine_with_nothing(void **state)
{
    uint32_t crc = crc_of(SLICE_LITERAL("123456789"));

    (void)state;
    assert_int_equal(crc32c_combine(0, 0, 0), 0);
    assert_int_equal(crc32c_combine(crc, 0, 0), crc);
    assert_int_equal(crc32c_combine(0, crc, 9), crc);
}

/* In any grouping it is the same, lengths far beyond any memory included. */
static void test_combine_is_associative(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 2000; seed++) {
        struct random random = random_seeded(seed);
        uint32_t a = (uint32_t)random_next(&random), b = (uint32_t)random_next(&random);
        uint32_t c = (uint32_t)random_next(&random);
        uint64_t b_len = random_next(&random) >> (2 + random_below(&random, 62));
        uint64_t c_len = random_next(&random) >> (2 + random_below(&random, 62));

        assert_seeded(crc32c_combine(crc32c_combine(a, b, b_len), c, c_len) ==
                          crc32c_combine(a, crc32c_combine(b, c, c_len), b_len + c_len),
                      seed);
    }
}

/* The CRC of 2^doublings zeros: each doubling is the run before with itself behind. */
static uint32_t zeros_doubled(unsigned doublings)
{
    uint32_t crc = crc32c_update(0, "", 1);
    unsigned i;

    for (i = 0; i < doublings; i++)
        crc = crc32c_combine(crc, crc, UINT64_C(1) << i);
    return crc;
}

/* The numbers come from another method, 32x32 matrices over GF(2), in another language. */
static void test_combine_large_lengths(void **state)
{
    uint32_t some = crc32c_update(0, (const char[12345]){0}, 12345);
    uint32_t half = zeros_doubled(62);

    (void)state;
    assert_int_equal(zeros_doubled(16), crc32c_update(0, (const char[1 << 16]){0}, 1 << 16));
    assert_int_equal(zeros_doubled(31), 0x527d5351);
    assert_int_equal(zeros_doubled(32), 0xf16177d2);
    assert_int_equal(zeros_doubled(40), 0x30fcedc0);
    assert_int_equal(zeros_doubled(63), 0xf16177d2);
    assert_int_equal(crc32c_combine(zeros_doubled(40), some, 12345), 0x38b5b5a8);
    assert_int_equal(crc32c_combine(some, zeros_doubled(40), UINT64_C(1) << 40), 0x38b5b5a8);
    /* A second part of 2^63 bytes, and of 2^63 - 1. */
    assert_int_equal(crc32c_combine(0, zeros_doubled(63), UINT64_C(1) << 63), 0xf16177d2);
    assert_int_equal(crc32c_combine(crc32c_update(0, "", 1), 0x527d5351, (UINT64_C(1) << 63) - 1),
                     0xf16177d2);
    assert_int_equal(crc32c_combine(half, half, UINT64_C(1) << 62), 0xf16177d2);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),           cmocka_unit_test(test_lengths_and_alignments),
        cmocka_unit_test(test_update_goes_on),         cmocka_unit_test(test_more_than_an_int),
        cmocka_unit_test(test_combine_random_splits),  cmocka_unit_test(test_combine_with_nothing),
        cmocka_unit_test(test_combine_is_associative), cmocka_unit_test(test_combine_large_lengths),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
