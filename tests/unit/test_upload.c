#include "support.h"

#include "upload.h"

#define MIB (UINT64_C(1) << 20)

static void test_record_round_trip(void **state)
{
    struct upload_record record = {.name = BYTES("a/\xff"),
                                   .part_size = 4 * MIB,
                                   .claimed_ns = -5,
                                   .declared = true,
                                   .size = 12345,
                                   .manifest = {.expires_ns = 7, .media_type = BYTES("text/plain")},
                                   .conditions = {.if_none_match = BYTES("*")}},
                         decoded;
    struct buffer bytes = {NULL, 0, 0};
    size_t len;

    (void)state;
    upload_record_encode(&record, &bytes);
    assert_true(upload_record_decode(buffer_slice(&bytes), &decoded));
    assert_slice_equals(decoded.name, record.name);
    assert_true(decoded.part_size == 4 * MIB && decoded.claimed_ns == -5 && decoded.declared &&
                decoded.size == 12345);
    assert_true(decoded.manifest.expires_ns == 7 && decoded.conditions.if_match.base == NULL);
    assert_slice_equals(decoded.manifest.media_type, record.manifest.media_type);
    assert_slice_equals(decoded.conditions.if_none_match, record.conditions.if_none_match);
    /* Cut anywhere, it is damaged, or lacks what it must have, or only a condition is missing. */
    for (len = 0; len < bytes.len - 6; len++) {
        char *copy = len != 0 ? memcpy(malloc(len), bytes.base, len) : NULL;
        assert_false(upload_record_decode((struct slice){copy, len}, &decoded));
        free(copy);
    }
    bytes.base[1] = 2;
    assert_false(upload_record_decode(buffer_slice(&bytes), &decoded));
    buffer_free(&bytes);
}

static void test_part_size(void **state)
{
    (void)state;
    assert_int_equal(upload_part_size(4 * MIB, false, UINT64_MAX), 4 * MIB);
    assert_int_equal(upload_part_size(4 * MIB, true, 0), 4 * MIB);
    assert_int_equal(upload_part_size(4 * MIB, true, 40000 * MIB), 4 * MIB);
    assert_int_equal(upload_part_size(4 * MIB, true, 40000 * MIB + 1), 8 * MIB);
    assert_int_equal(upload_part_size(4 * MIB, true, 640000 * MIB), 64 * MIB);
    assert_int_equal(upload_part_size(4 * MIB, true, UPLOAD_FILE_SIZE_MOST), 64 * MIB);
}

static void test_part_problem(void **state)
{
    struct upload_record declared = {.part_size = 10, .declared = true, .size = 25}, open = {.part_size = 10},
                         empty = {.part_size = 10, .declared = true, .size = 0};

    (void)state;
    assert_null(upload_part_problem(&declared, 0, 10));
    assert_null(upload_part_problem(&declared, 2, 5));
    assert_non_null(upload_part_problem(&declared, 0, 9));
    assert_non_null(upload_part_problem(&declared, 2, 6));
    assert_non_null(upload_part_problem(&declared, 2, 4));
    assert_non_null(upload_part_problem(&declared, 3, 10));
    assert_null(upload_part_problem(&open, 9999, 10));
    assert_null(upload_part_problem(&open, 5, 1));
    assert_non_null(upload_part_problem(&open, 5, 0));
    assert_non_null(upload_part_problem(&open, 5, 11));
    assert_non_null(upload_part_problem(&open, 10000, 10));
    assert_non_null(upload_part_problem(&empty, 0, 0));
}

static void test_parts(void **state)
{
    struct upload_part part = {81919, 258, 0x01020304}, decoded;
    struct buffer value = {NULL, 0, 0};
    char key[UPLOAD_PART_KEY_SIZE];

    (void)state;
    upload_part_key(part.number, key);
    assert_string_equal(key, "00081919");
    upload_part_encode(&part, &value);
    assert_slice_equals(buffer_slice(&value), (struct slice)BYTES("\x02\x01\0\0\0\0\0\0\x04\x03\x02\x01"));
    assert_true(upload_part_decode(slice_of(key), buffer_slice(&value), &decoded));
    assert_true(decoded.number == 81919 && decoded.size == 258 && decoded.crc32c == 0x01020304);
    assert_false(upload_part_decode(slice_of("0008191x"), buffer_slice(&value), &decoded));
    assert_false(upload_part_decode(slice_of("81919"), buffer_slice(&value), &decoded));
    assert_false(upload_part_decode(slice_of("000081919"), buffer_slice(&value), &decoded));
    assert_false(upload_part_decode(slice_of(key), (struct slice){value.base, 11}, &decoded));
    buffer_free(&value);
}

static void test_complete(void **state)
{
    struct upload_part parts[] = {{0, 10, 0}, {1, 10, 0}, {2, 5, 0}, {7, 5, 0}};
    struct upload_gaps gaps;

    (void)state;
    assert_true(upload_is_complete(10, 25, parts, 3, &gaps));
    assert_true(upload_is_complete(10, 20, parts, 2, &gaps));
    assert_true(upload_is_complete(10, 0, parts, 0, &gaps));
    assert_false(upload_is_complete(10, 20, parts, 3, &gaps));
    assert_true(gaps.missing == 0 && gaps.wrong == 1 && gaps.wrong_numbers[0] == 2);
    assert_false(upload_is_complete(10, 24, parts, 3, &gaps));
    assert_true(gaps.missing == 0 && gaps.wrong == 1);
    assert_false(upload_is_complete(10, 45, parts, 4, &gaps));
    assert_true(gaps.missing == 2 && gaps.missing_numbers[0] == 3 && gaps.missing_numbers[1] == 4);
    assert_true(gaps.wrong == 2 && gaps.wrong_numbers[0] == 2 && gaps.wrong_numbers[1] == 7);
    assert_false(upload_is_complete(10, 100000, parts, 0, &gaps));
    assert_true(gaps.missing == 10000 && gaps.missing_told == 1000 && gaps.missing_numbers[999] == 999);
}

static void test_publication(void **state)
{
    static const char *const wrong[] = {"",
                                        "{}",
                                        "[]",
                                        "5",
                                        "{\"size\":\"5\"}",
                                        "{\"size\":-1}",
                                        "{\"size\":1.5}",
                                        "{\"size\":5497558138881}",
                                        "{\"size\":99999999999999999999}",
                                        "{\"size\":1,\"x\":1}",
                                        "{\"size\":1,\"repr_digest\":1}",
                                        "{\"size\":1,\"repr_digest\":\"sha-256\"}",
                                        "{\"size\":1"};
    struct digests claimed;
    uint64_t size;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(wrong); i++)
        assert_row(upload_parse_publication(slice_of(wrong[i]), &size, &claimed) != NULL, wrong[i]);
    assert_non_null(
        strstr(upload_parse_publication(slice_of("{\"size\":1,\"sise\":1}"), &size, &claimed), "\"sise\""));
    assert_null(upload_parse_publication(slice_of("{\"size\":5497558138880}"), &size, &claimed));
    assert_true(size == UPLOAD_FILE_SIZE_MOST && claimed.known == 0);
    assert_null(upload_parse_publication(slice_of("{\"repr_digest\":\"crc32c=:4waSgw==:\",\"size\":9}"),
                                         &size, &claimed));
    assert_true(size == 9 && claimed.known == DIGEST_BIT(DIGEST_CRC32C));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_round_trip), cmocka_unit_test(test_part_size),
        cmocka_unit_test(test_part_problem),      cmocka_unit_test(test_parts),
        cmocka_unit_test(test_complete),          cmocka_unit_test(test_publication),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
