#include "support.h"

#include "crc32c.h"
#include "stripe.h"

#define SIZE (2 * STRIPE_BLOCK_SIZE + 1000)

static char content[SIZE];

static void fill(void)
{
    size_t i;

    for (i = 0; i < SIZE; i++)
        content[i] = (char)(i * 2654435761u >> 7);
}

static void test_name(void **state)
{
    char object[STRIPE_OBJECT_SIZE];

    (void)state;
    stripe_object("0123456789abcdef0123456789abcdef", UINT64_MAX, object);
    assert_string_equal(object, "0123456789abcdef0123456789abcdef.18446744073709551615");
}

static void test_format(void **state)
{
    struct buffer checksums = {NULL, 0, 0};

    (void)state;
    assert_int_equal(stripe_checksums((struct slice)BYTES("123456789"), &checksums), 0xe3069283);
    assert_slice_equals(buffer_slice(&checksums), (struct slice)BYTES("\x83\x92\x06\xe3"));
    checksums.len = 0;
    assert_int_equal(stripe_checksums((struct slice)BYTES(""), &checksums), 0);
    assert_int_equal(checksums.len, 0);
    buffer_free(&checksums);
}

static void test_whole_and_parts(void **state)
{
    static const struct {
        uint64_t first_block;
        size_t offset, len;
    } rows[] = {
        {0, 0, SIZE},
        {0, 0, STRIPE_BLOCK_SIZE},
        {1, STRIPE_BLOCK_SIZE, STRIPE_BLOCK_SIZE},
        {1, STRIPE_BLOCK_SIZE, STRIPE_BLOCK_SIZE + 1000},
        {2, (size_t)2 * STRIPE_BLOCK_SIZE, 1000},
    };
    struct buffer checksums = {NULL, 0, 0};
    uint64_t bad;
    size_t i;

    (void)state;
    fill();
    assert_int_equal(stripe_checksums((struct slice){content, SIZE}, &checksums),
                     crc32c_update(0, content, SIZE));
    assert_int_equal(checksums.len, 12);
    for (i = 0; i < COUNT_OF(rows); i++)
        assert_true(stripe_check(buffer_slice(&checksums), rows[i].first_block,
                                 (struct slice){content + rows[i].offset, rows[i].len}, &bad));
    buffer_free(&checksums);
}

static void test_checksums_size(void **state)
{
    static const struct {
        const char *what;
        uint64_t len;
        size_t size;
    } rows[] = {
        {"nothing", 0, 0},
        {"a byte", 1, 4},
        {"a block", STRIPE_BLOCK_SIZE, 4},
        {"a block and a byte", STRIPE_BLOCK_SIZE + 1, 8},
        {"two blocks", 2 * STRIPE_BLOCK_SIZE, 8},
        {"4 MiB", 16 * STRIPE_BLOCK_SIZE, 64},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++)
        assert_row(stripe_checksums_size(rows[i].len) == rows[i].size, rows[i].what);
}

static void test_damage(void **state)
{
    struct buffer checksums = {NULL, 0, 0};
    uint64_t bad;

    (void)state;
    fill();
    (void)stripe_checksums((struct slice){content, SIZE}, &checksums);
    content[STRIPE_BLOCK_SIZE + 5] ^= 1;
    assert_false(stripe_check(buffer_slice(&checksums), 0, (struct slice){content, SIZE}, &bad));
    assert_int_equal(bad, 1);
    assert_true(stripe_check(buffer_slice(&checksums), 0, (struct slice){content, STRIPE_BLOCK_SIZE}, &bad));
    /* More bytes than checksums, or a last block that is shorter than it was. */
    assert_false(stripe_check((struct slice){checksums.base, 11}, 2,
                              (struct slice){content + 2 * STRIPE_BLOCK_SIZE, 1000}, &bad));
    assert_false(stripe_check(buffer_slice(&checksums), 2,
                              (struct slice){content + 2 * STRIPE_BLOCK_SIZE, 999}, &bad));
    assert_int_equal(bad, 2);
    assert_false(stripe_check(buffer_slice(&checksums), UINT64_MAX, (struct slice){content, 10}, &bad));
    buffer_free(&checksums);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_name),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_whole_and_parts),
        cmocka_unit_test(test_checksums_size),
        cmocka_unit_test(test_damage),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
