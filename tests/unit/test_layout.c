#include "support.h"

#include "layout.h"

static void test_round_trip(void **state)
{
    struct buffer encoded = {NULL, 0, 0};
    struct layout layout, decoded;

    (void)state;
    layout_init(&layout, "data \"2\"");
    layout_encode(&layout, &encoded);
    assert_null(layout_decode(buffer_slice(&encoded), &decoded));
    assert_int_equal(decoded.stripe_size, 4194304);
    assert_int_equal(decoded.index_shards, 16);
    assert_int_equal(decoded.index_journals, 2);
    assert_int_equal(decoded.gc_shards, 16);
    assert_string_equal(decoded.data_pool, "data \"2\"");
    buffer_free(&encoded);
}

#define REST "\"index_shards\":16,\"gc_shards\":16,\"data_pool\":\"d\"}"

static void test_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"format\":2,\"stripe_size\":4194304," REST,
        "{\"format\":\"1\",\"stripe_size\":4194304," REST,
        "{\"format\":1,\"stripe_size\":0," REST,
        "{\"format\":1,\"stripe_size\":-1," REST,
        "{\"format\":1,\"stripe_size\":67108865," REST,
        "{\"format\":1,\"stripe_size\":4294967297," REST,
        "{\"format\":1," REST,
        "{\"format\":1,\"stripe_size\":1,\"index_shards\":0,\"gc_shards\":16,\"data_pool\":\"d\"}",
        "{\"format\":1,\"stripe_size\":1,\"index_shards\":1,\"gc_shards\":4097,\"data_pool\":\"d\"}",
        "{\"format\":1,\"stripe_size\":1,\"index_journals\":65," REST,
        "{\"format\":1,\"stripe_size\":1,\"index_shards\":1,\"gc_shards\":1,\"data_pool\":\"\"}",
        "{\"format\":1,\"stripe_size\":1,\"index_shards\":1,\"gc_shards\":1}",
        "{\"format\":1,\"stripe_size\":1,\"index_shards\":1,\"gc_shards\":1,\"data_pool\":\"d\\ude00\"}",
    };
    struct layout layout;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++)
        assert_row(layout_decode(slice_of(rows[i]), &layout) != NULL, rows[i]);
    assert_null(layout_decode(slice_of("{\"format\":1,\"stripe_size\":67108864," REST), &layout));
    assert_int_equal(layout.index_journals, 2);
    assert_string_equal(layout_decode(slice_of(rows[4]), &layout),
                        "its format is not 1, the only one that this version knows");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refused),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
