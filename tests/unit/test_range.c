#include "support.h"

#include "range.h"

/* The range of a field that has one; none for any other. */
static struct range range_parse(struct slice field)
{
    struct ranges ranges = ranges_parse(field);

    assert_false(ranges.too_many);
    return ranges.count == 1 ? ranges.list[0] : (struct range){RANGE_NONE, 0, 0, 0};
}

static void test_parse(void **state)
{
    static const struct {
        const char *field;
        struct range range;
    } rows[] = {
        {"bytes=0-0", {RANGE_CLOSED, 0, 0, 0}},
        {"bytes=0-499", {RANGE_CLOSED, 0, 499, 0}},
        {"bytes=500-999", {RANGE_CLOSED, 500, 999, 0}},
        {"bytes=007-0010", {RANGE_CLOSED, 7, 10, 0}},
        {"bytes=9500-", {RANGE_FROM, 9500, 0, 0}},
        {"bytes=0-", {RANGE_FROM, 0, 0, 0}},
        {"bytes=-500", {RANGE_SUFFIX, 0, 0, 500}},
        {"bytes=-0", {RANGE_SUFFIX, 0, 0, 0}},
        /* The unit compares without case, and white space around a field's value is not part of it. */
        {"Bytes=1-2", {RANGE_CLOSED, 1, 2, 0}},
        {" \tbytes=1-2 \t", {RANGE_CLOSED, 1, 2, 0}},
        {"bytes=18446744073709551615-", {RANGE_FROM, UINT64_MAX, 0, 0}},
        {"bytes=18446744073709551614-18446744073709551615", {RANGE_CLOSED, UINT64_MAX - 1, UINT64_MAX, 0}},
        /* Too large for 64 bits: still larger than any file. */
        {"bytes=18446744073709551616-", {RANGE_FROM, UINT64_MAX, 0, 0}},
        {"bytes=99999999999999999999999999-", {RANGE_FROM, UINT64_MAX, 0, 0}},
        {"bytes=5-99999999999999999999999999", {RANGE_CLOSED, 5, UINT64_MAX, 0}},
        {"bytes=-99999999999999999999999999", {RANGE_SUFFIX, 0, 0, UINT64_MAX}},

        {"", {RANGE_NONE, 0, 0, 0}},
        {"bytes", {RANGE_NONE, 0, 0, 0}},
        {"bytes=", {RANGE_NONE, 0, 0, 0}},
        {"bytes=-", {RANGE_NONE, 0, 0, 0}},
        {"bytes=5", {RANGE_NONE, 0, 0, 0}},
        {"bytes=a-b", {RANGE_NONE, 0, 0, 0}},
        {"bytes=1-b", {RANGE_NONE, 0, 0, 0}},
        {"bytes=a-1", {RANGE_NONE, 0, 0, 0}},
        {"bytes=1-2x", {RANGE_NONE, 0, 0, 0}},
        {"bytes=-5x", {RANGE_NONE, 0, 0, 0}},
        {"bytes=--5", {RANGE_NONE, 0, 0, 0}},
        {"bytes=1--5", {RANGE_NONE, 0, 0, 0}},
        {"bytes=1-2-3", {RANGE_NONE, 0, 0, 0}},
        {"bytes=+1-2", {RANGE_NONE, 0, 0, 0}},
        {"bytes=0x1-0x2", {RANGE_NONE, 0, 0, 0}},
        {"bytes=1.5-2", {RANGE_NONE, 0, 0, 0}},
        {"bytes=2-1", {RANGE_NONE, 0, 0, 0}},
        {"bytes 1-2", {RANGE_NONE, 0, 0, 0}},
        {"bytes =1-2", {RANGE_NONE, 0, 0, 0}},
        {"bytes=1 -2", {RANGE_NONE, 0, 0, 0}},
        {"bytes=1- 2", {RANGE_NONE, 0, 0, 0}},
        {"items=0-5", {RANGE_NONE, 0, 0, 0}},
        {"kbytes=0-5", {RANGE_NONE, 0, 0, 0}},
        {"bytes=,", {RANGE_NONE, 0, 0, 0}},
        {"bytes=0-1,x", {RANGE_NONE, 0, 0, 0}},
        {"bytes=0-1;3-4", {RANGE_NONE, 0, 0, 0}},
        {"bytes= 0-1", {RANGE_CLOSED, 0, 1, 0}},
        {"bytes=,0-1 ,, ", {RANGE_CLOSED, 0, 1, 0}},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        const struct range *expected = &rows[i].range;
        struct slice field = slice_of(rows[i].field);
        char *copy = copy_exactly(field);
        struct range range = range_parse((struct slice){copy, field.len});

        assert_row(range.kind == expected->kind, rows[i].field);
        if (range.kind == RANGE_FROM || range.kind == RANGE_CLOSED)
            assert_row(range.first == expected->first, rows[i].field);
        if (range.kind == RANGE_CLOSED)
            assert_row(range.last == expected->last, rows[i].field);
        if (range.kind == RANGE_SUFFIX)
            assert_row(range.length == expected->length, rows[i].field);
        free(copy);
    }
}

static void test_parse_absent(void **state)
{
    (void)state;
    assert_int_equal(range_parse(SLICE_ABSENT).kind, RANGE_NONE);
}

static void test_resolve_at_the_limits(void **state)
{
    static const struct {
        const char *field;
        uint64_t size;
        bool satisfiable;
        uint64_t offset, length;
    } rows[] = {
        {"", 0, true, 0, 0},
        {"", UINT64_MAX, true, 0, UINT64_MAX},
        {"bytes=0-", 0, false, 0, 0},
        {"bytes=0-0", 0, false, 0, 0},
        {"bytes=-0", 10, false, 0, 0},
        {"bytes=10-", 10, false, 0, 0},
        {"bytes=9-", 10, true, 9, 1},
        {"bytes=9-9", 10, true, 9, 1},
        {"bytes=9-10", 10, true, 9, 1},
        {"bytes=5-99999999999999999999999999", 10, true, 5, 5},
        {"bytes=-99999999999999999999999999", 10, true, 0, 10},
        {"bytes=0-18446744073709551615", UINT64_MAX, true, 0, UINT64_MAX},
        {"bytes=0-18446744073709551614", UINT64_MAX, true, 0, UINT64_MAX},
        {"bytes=0-18446744073709551613", UINT64_MAX, true, 0, UINT64_MAX - 1},
        {"bytes=1-18446744073709551615", UINT64_MAX, true, 1, UINT64_MAX - 1},
        {"bytes=18446744073709551615-", UINT64_MAX, false, 0, 0},
        {"bytes=18446744073709551614-", UINT64_MAX, true, UINT64_MAX - 1, 1},
        {"bytes=-18446744073709551615", UINT64_MAX, true, 0, UINT64_MAX},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct range range = range_parse(slice_of(rows[i].field));
        uint64_t offset = 77, length = 77;

        assert_row(range_resolve(&range, rows[i].size, &offset, &length) == rows[i].satisfiable,
                   rows[i].field);
        if (rows[i].satisfiable)
            assert_row(offset == rows[i].offset && length == rows[i].length, rows[i].field);
    }
}

/* Which of the bytes does RFC 9110, 14.1.2 mean? Asked for each one. */
static bool model_has_byte(enum range_kind kind, uint64_t a, uint64_t b, uint64_t size, uint64_t at)
{
    switch (kind) {
    case RANGE_NONE:
        return true;
    case RANGE_FROM:
        return at >= a;
    case RANGE_CLOSED:
        return at >= a && at <= b;
    case RANGE_SUFFIX:
        return at + a >= size;
    }
    return false;
}

static void compare_with_model(const char *field, enum range_kind kind, uint64_t a, uint64_t b, uint64_t size)
{
    struct range range = range_parse(slice_of(field));
    uint64_t offset = 0, length = 0, expected_offset = 0, expected_length = 0, at;
    bool satisfiable;

    for (at = 0; at < size; at++) {
        if (!model_has_byte(kind, a, b, size, at))
            continue;
        if (expected_length == 0)
            expected_offset = at;
        expected_length++;
    }
    satisfiable = range_resolve(&range, size, &offset, &length);
    assert_row(satisfiable == (expected_length != 0), field);
    if (satisfiable)
        assert_row(offset == expected_offset && length == expected_length, field);
}

static void test_resolve_against_model(void **state)
{
    uint64_t size, a, b;

    (void)state;
    for (size = 0; size <= 12; size++) {
        for (a = 0; a <= 14; a++) {
            char field[64];

            snprintf(field, sizeof(field), "bytes=%" PRIu64 "-", a);
            compare_with_model(field, RANGE_FROM, a, 0, size);
            snprintf(field, sizeof(field), "bytes=-%" PRIu64, a);
            compare_with_model(field, RANGE_SUFFIX, a, 0, size);
            for (b = a; b <= 15; b++) {
                snprintf(field, sizeof(field), "bytes=%" PRIu64 "-%" PRIu64, a, b);
                compare_with_model(field, RANGE_CLOSED, a, b, size);
            }
        }
    }
}

static void append_span(const struct span *span, struct buffer *to)
{
    buffer_printf(to, "%s%" PRIu64 "+%" PRIu64, to->len != 0 ? " " : "", span->offset, span->length);
}

static void test_several(void **state)
{
    static const struct {
        const char *field;
        uint64_t size;
        const char *spans;
    } rows[] = {
        {"bytes=0-1,3-4", 10, "0+2 3+2"},
        {"bytes=3-4,0-1", 10, "3+2 0+2"},
        {"bytes=0-0, -1", 10, "0+1 9+1"},
        {"bytes=0-4,5-9", 10, "0+10"},
        {"bytes=5-9,0-4", 10, "0+10"},
        {"bytes=0-5,3-7", 10, "0+8"},
        {"bytes=0-1,8-9,1-8", 10, "0+10"},
        {"bytes=8-9,4-5,0-0,5-7", 10, "4+6 0+1"},
        {"bytes=20-,1-2,-0", 10, "1+2"},
        {"bytes=20-,30-40", 10, ""},
        {"bytes=0-,-5", 0, ""},
        {"bytes=1-1,1-1,1-1", 10, "1+1"},
        {"bytes=0-18446744073709551615,1-2", UINT64_MAX, "0+18446744073709551615"},
    };
    size_t i, k;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct ranges ranges = ranges_parse(slice_of(rows[i].field));
        struct buffer found = {NULL, 0, 0};
        struct span spans[RANGES_MAX];
        size_t count = ranges_resolve(&ranges, rows[i].size, spans);

        assert_row(!ranges.too_many && ranges.count != 0, rows[i].field);
        for (k = 0; k < count; k++)
            append_span(&spans[k], &found);
        assert_slice_equals(buffer_slice(&found), slice_of(rows[i].spans));
        buffer_free(&found);
    }
}

static void test_too_many(void **state)
{
    struct buffer field = {NULL, 0, 0};
    struct span spans[RANGES_MAX];
    struct ranges ranges;
    unsigned i;

    (void)state;
    buffer_append_text(&field, "bytes=0-0");
    for (i = 1; i < RANGES_MAX; i++)
        buffer_printf(&field, ",%u-%u", 2 * i, 2 * i);
    ranges = ranges_parse(buffer_slice(&field));
    assert_false(ranges.too_many);
    assert_int_equal(ranges_resolve(&ranges, 1000, spans), RANGES_MAX);
    buffer_append_text(&field, ",900-");
    assert_true(ranges_parse(buffer_slice(&field)).too_many);
    buffer_free(&field);
}

/* No byte twice, none too few: against a set of bytes. */
static void test_several_against_model(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 5000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer field = {NULL, 0, 0};
        bool wanted[40] = {false}, sent[40] = {false};
        uint64_t size = 1 + random_below(&random, 40);
        struct span spans[RANGES_MAX];
        struct ranges ranges;
        size_t count, members = 1 + random_below(&random, RANGES_MAX), i, at;

        buffer_append_text(&field, "bytes=");
        for (i = 0; i < members; i++) {
            uint64_t first = random_below(&random, 50), last = first + random_below(&random, 5);
            buffer_printf(&field, "%s%" PRIu64 "-%" PRIu64, i != 0 ? "," : "", first, last);
            for (at = first; at <= last && at < size; at++)
                wanted[at] = true;
        }
        ranges = ranges_parse(buffer_slice(&field));
        count = ranges_resolve(&ranges, size, spans);
        for (i = 0; i < count; i++) {
            assert_seeded(spans[i].length != 0, seed);
            for (at = spans[i].offset; at < spans[i].offset + spans[i].length; at++) {
                assert_seeded(at < size && !sent[at], seed);
                sent[at] = true;
            }
        }
        assert_seeded(memcmp(wanted, sent, sizeof(wanted)) == 0, seed);
        buffer_free(&field);
    }
}

/* What is found always lies within the representation, whatever the field. */
static void test_any_bytes(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 20000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer text = {NULL, 0, 0};
        uint64_t size = random_next(&random) >> random_below(&random, 64), offset = 0, length = 0;
        struct ranges all;
        struct range range;
        char *copy;

        if (random_below(&random, 8) != 0)
            buffer_append_text(&text, "bytes=");
        random_append_of(&random, SLICE_LITERAL("0123456789999----, =\0"), random_below(&random, 40), &text);
        copy = copy_exactly(buffer_slice(&text));
        all = ranges_parse((struct slice){copy, text.len});
        range = all.count != 0 ? all.list[0] : (struct range){RANGE_NONE, 0, 0, 0};
        assert_seeded(range.kind != RANGE_CLOSED || range.first <= range.last, seed);
        if (range_resolve(&range, size, &offset, &length)) {
            assert_seeded(offset <= size && length <= size - offset, seed);
            assert_seeded(range.kind == RANGE_NONE || length != 0, seed);
        }
        free(copy);
        buffer_free(&text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_absent),
        cmocka_unit_test(test_resolve_at_the_limits),
        cmocka_unit_test(test_resolve_against_model),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_several_against_model),
        cmocka_unit_test(test_any_bytes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
