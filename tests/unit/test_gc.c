#include "support.h"

#include "gc.h"

#define UID "0123456789abcdef0123456789abcdef"

static void test_format(void **state)
{
    struct gc_entry entry = {.kind = GC_DEAD, .time_ns = -2, .stripes = 258, .name = BYTES("a/b")};
    struct buffer encoded = {NULL, 0, 0};

    (void)state;
    gc_entry_encode(&entry, &encoded);
    assert_slice_equals(buffer_slice(&encoded), (struct slice)BYTES("G\x01"
                                                                    "d\xfe\xff\xff\xff\xff\xff\xff\xff"
                                                                    "\x02\x01\0\0\0\0\0\0a/b"));
    buffer_free(&encoded);
}

static void test_round_trip(void **state)
{
    struct gc_entry entry = {
        .kind = GC_UPLOAD, .time_ns = INT64_MAX, .stripes = UINT64_MAX, .name = BYTES("\xff\n")};
    struct buffer encoded = {NULL, 0, 0};
    struct gc_entry decoded;

    (void)state;
    gc_entry_encode(&entry, &encoded);
    assert_true(gc_entry_decode(buffer_slice(&encoded), &decoded));
    assert_int_equal(decoded.kind, GC_UPLOAD);
    assert_true(decoded.time_ns == INT64_MAX && decoded.stripes == UINT64_MAX);
    assert_slice_equals(decoded.name, entry.name);
    buffer_free(&encoded);
}

static void test_damaged(void **state)
{
    struct gc_entry entry = {.kind = GC_UPLOAD, .time_ns = 1, .stripes = 1, .name = BYTES("n")};
    struct buffer encoded = {NULL, 0, 0};
    struct gc_entry decoded;
    size_t len;

    (void)state;
    gc_entry_encode(&entry, &encoded);
    /* The last byte is the whole name: without it there is none. */
    for (len = 0; len < encoded.len; len++) {
        char *copy = copy_exactly((struct slice){encoded.base, len});
        assert_false(gc_entry_decode((struct slice){copy, len}, &decoded));
        free(copy);
    }
    encoded.base[2] = 'x';
    assert_false(gc_entry_decode(buffer_slice(&encoded), &decoded));
    encoded.base[2] = 'u';
    encoded.base[1] = 2;
    assert_false(gc_entry_decode(buffer_slice(&encoded), &decoded));
    buffer_free(&encoded);
}

static void test_objects(void **state)
{
    char shard[GC_OBJECT_SIZE];

    (void)state;
    gc_object_of_uid(UID, 16, shard);
    assert_string_equal(shard, "gc.3"); /* 0x0123 % 16 */
    gc_object_of_uid("ffff" UID, 4096, shard);
    assert_string_equal(shard, "gc.4095");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_objects),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
