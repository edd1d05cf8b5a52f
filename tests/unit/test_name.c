#include "support.h"

#include "name.h"

static void test_percent_decode(void **state)
{
    static const struct {
        struct slice encoded;
        enum percent_plus plus;
        struct slice decoded; /* absent: an error */
    } rows[] = {
        {BYTES(""), PERCENT_PLUS_IS_PLUS, BYTES("")},
        {BYTES("a-b_c.d~e"), PERCENT_PLUS_IS_PLUS, BYTES("a-b_c.d~e")},
        {BYTES("%41%5a%7A"), PERCENT_PLUS_IS_PLUS, BYTES("AZz")},
        {BYTES("a%2Fb/c%2fd"), PERCENT_PLUS_IS_PLUS, BYTES("a/b/c/d")},
        {BYTES("a%20b"), PERCENT_PLUS_IS_PLUS, BYTES("a b")},
        {BYTES("a+b"), PERCENT_PLUS_IS_PLUS, BYTES("a+b")},
        {BYTES("a+b"), PERCENT_PLUS_IS_SPACE, BYTES("a b")},
        {BYTES("a%2Bb"), PERCENT_PLUS_IS_PLUS, BYTES("a+b")},
        {BYTES("a%2Bb"), PERCENT_PLUS_IS_SPACE, BYTES("a+b")},
        {BYTES("%25"), PERCENT_PLUS_IS_PLUS, BYTES("%")},
        /* Decoded once: what a decoded percent sign begins is left alone. */
        {BYTES("%2541"), PERCENT_PLUS_IS_PLUS, BYTES("%41")},
        {BYTES("%00"), PERCENT_PLUS_IS_PLUS, BYTES("\0")},
        {BYTES("%ff%FF%80"), PERCENT_PLUS_IS_PLUS, BYTES("\xff\xff\x80")},
        {BYTES("\xc3\xa9 \x01"), PERCENT_PLUS_IS_PLUS, BYTES("\xc3\xa9 \x01")},
        {BYTES("../..//."), PERCENT_PLUS_IS_PLUS, BYTES("../..//.")},
        {BYTES("%"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%4"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("ab%"), PERCENT_PLUS_IS_SPACE, {NULL, 0}},
        {BYTES("ab%4"), PERCENT_PLUS_IS_SPACE, {NULL, 0}},
        {BYTES("%4g"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%g4"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%%41"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%-1"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%+1"), PERCENT_PLUS_IS_SPACE, {NULL, 0}},
        {BYTES("% 1"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%0x41"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%4\0"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%u0041"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        /* The neighbours of the digits and letters in ASCII. */
        {BYTES("%/0"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%:0"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%@0"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%G0"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
        {BYTES("%`0"), PERCENT_PLUS_IS_PLUS, {NULL, 0}},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct slice expected = rows[i].decoded;
        char *text = copy_exactly(rows[i].encoded);
        struct buffer decoded = {NULL, 0, 0};
        bool well = percent_decode((struct slice){text, rows[i].encoded.len}, rows[i].plus, &decoded);

        assert_row(well == (expected.base != NULL), rows[i].encoded.base);
        assert_row(!well || slice_equals(buffer_slice(&decoded), expected), rows[i].encoded.base);
        buffer_free(&decoded);
        free(text);
    }
}

/* Cut off right behind a percent sign, the bytes that follow in memory do not count. */
static void test_percent_decode_keeps_to_its_slice(void **state)
{
    struct buffer decoded = {NULL, 0, 0};

    (void)state;
    assert_false(percent_decode((struct slice){"%41", 1}, PERCENT_PLUS_IS_PLUS, &decoded));
    buffer_free(&decoded);
    assert_false(percent_decode((struct slice){"%41", 2}, PERCENT_PLUS_IS_PLUS, &decoded));
    buffer_free(&decoded);
}

static void test_percent_decode_appends(void **state)
{
    struct buffer decoded = {NULL, 0, 0};

    (void)state;
    buffer_append_text(&decoded, "before ");
    assert_true(percent_decode(SLICE_LITERAL("%41"), PERCENT_PLUS_IS_PLUS, &decoded));
    assert_slice_equals(buffer_slice(&decoded), SLICE_LITERAL("before A"));
    buffer_free(&decoded);
}

static void test_percent_encode(void **state)
{
    static const struct {
        struct slice bytes;
        bool keep_slash;
        const char *encoded;
    } rows[] = {
        {BYTES(""), true, ""},
        {BYTES("a/b c"), true, "a/b%20c"},
        {BYTES("a/b c"), false, "a%2Fb%20c"},
        {BYTES("1+1=2%&?#"), true, "1%2B1%3D2%25%26%3F%23"},
        {BYTES("caf\xc3\xa9"), true, "caf%C3%A9"},
        {BYTES("\0\x7f\xff"), true, "%00%7F%FF"},
        {BYTES(".././/~"), true, ".././/~"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct buffer encoded = {NULL, 0, 0};
        percent_encode(rows[i].bytes, rows[i].keep_slash, &encoded);
        assert_row(slice_is(buffer_slice(&encoded), rows[i].encoded), rows[i].encoded);
        buffer_free(&encoded);
    }
}

static void test_percent_encode_each_byte(void **state)
{
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    int byte;

    (void)state;
    for (byte = 0; byte < 256; byte++) {
        char text[1] = {(char)byte}, expected[4];
        struct buffer encoded = {NULL, 0, 0};

        if (memchr(unreserved, byte, sizeof(unreserved) - 1) != NULL)
            snprintf(expected, sizeof(expected), "%c", byte);
        else
            snprintf(expected, sizeof(expected), "%%%02X", (unsigned)byte);
        percent_encode((struct slice){text, 1}, false, &encoded);
        assert_string_equal(encoded.base, expected);
        buffer_free(&encoded);
    }
}

static void test_percent_round_trip(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 2000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer bytes = {NULL, 0, 0}, encoded = {NULL, 0, 0}, decoded = {NULL, 0, 0};
        bool keep_slash = random_below(&random, 2) != 0;
        enum percent_plus plus = random_below(&random, 2) != 0 ? PERCENT_PLUS_IS_PLUS : PERCENT_PLUS_IS_SPACE;

        random_append_bytes(&random, random_below(&random, 80), &bytes);
        percent_encode(buffer_slice(&bytes), keep_slash, &encoded);
        assert_seeded(percent_decode(buffer_slice(&encoded), plus, &decoded), seed);
        assert_seeded(slice_equals(buffer_slice(&decoded), buffer_slice(&bytes)), seed);
        assert_seeded(encoded.len == 0 || keep_slash || memchr(encoded.base, '/', encoded.len) == NULL, seed);
        buffer_free(&bytes);
        buffer_free(&encoded);
        buffer_free(&decoded);
    }
}

/* Every percent sign of what is accepted begins a triple, and what comes out is shorter by two bytes for
 * each. */
static void test_percent_decode_any_bytes(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 5000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer text = {NULL, 0, 0}, decoded = {NULL, 0, 0};
        size_t signs = 0, i;
        char *copy;

        random_append_of(&random, SLICE_LITERAL("%%%0019afAFgG+/x\xff"), random_below(&random, 12), &text);
        copy = copy_exactly(buffer_slice(&text));
        for (i = 0; i < text.len; i++)
            signs += copy[i] == '%';
        if (percent_decode((struct slice){copy, text.len}, PERCENT_PLUS_IS_SPACE, &decoded))
            assert_seeded(decoded.len + 2 * signs == text.len, seed);
        else
            assert_seeded(signs != 0, seed);
        free(copy);
        buffer_free(&text);
        buffer_free(&decoded);
    }
}

static void test_name_problem(void **state)
{
    char longest[NAME_SIZE_MAX + 1];

    (void)state;
    memset(longest, 'n', sizeof(longest));
    assert_null(name_problem(SLICE_LITERAL("a")));
    assert_null(name_problem(SLICE_LITERAL(".")));
    assert_null(name_problem(SLICE_LITERAL("..")));
    assert_null(name_problem(SLICE_LITERAL("/")));
    assert_null(name_problem(SLICE_LITERAL("a//b/../c")));
    assert_null(name_problem(SLICE_LITERAL("\x01\n\r\t\x7f\xff\xfe")));
    assert_null(name_problem((struct slice){longest, NAME_SIZE_MAX}));

    assert_non_null(name_problem(SLICE_LITERAL("")));
    assert_non_null(name_problem(SLICE_ABSENT));
    assert_non_null(name_problem((struct slice){longest, NAME_SIZE_MAX + 1}));
    assert_non_null(name_problem(SLICE_LITERAL("\0")));
    assert_non_null(name_problem(SLICE_LITERAL("a\0b")));
    assert_non_null(name_problem(SLICE_LITERAL("ab\0")));
}

static void test_utf8_is_valid(void **state)
{
    static const struct {
        struct slice bytes;
        bool valid;
    } rows[] = {
        {BYTES(""), true},
        {BYTES("plain"), true},
        {BYTES("\x7f"), true},
        {BYTES("\xc2\x80"), true},
        {BYTES("\xdf\xbf"), true},
        {BYTES("\xe0\xa0\x80"), true},
        {BYTES("\xed\x9f\xbf"), true},
        {BYTES("\xee\x80\x80"), true},
        {BYTES("\xef\xbf\xbf"), true},
        {BYTES("\xf0\x90\x80\x80"), true},
        {BYTES("\xf4\x8f\xbf\xbf"), true},
        {BYTES("\x80"), false}, /* a continuation byte alone */
        {BYTES("a\xbf"), false},
        {BYTES("\xc0\x80"), false}, /* overlong */
        {BYTES("\xc1\xbf"), false},
        {BYTES("\xe0\x9f\xbf"), false},
        {BYTES("\xf0\x8f\xbf\xbf"), false},
        {BYTES("\xed\xa0\x80"), false}, /* surrogates */
        {BYTES("\xed\xbf\xbf"), false},
        {BYTES("\xf4\x90\x80\x80"), false}, /* above U+10FFFF */
        {BYTES("\xf5\x80\x80\x80"), false},
        {BYTES("\xf8\x88\x80\x80\x80"), false}, /* five bytes */
        {BYTES("\xff"), false},
        {BYTES("\xfe"), false},
        {BYTES("\xc3"), false}, /* cut short */
        {BYTES("\xe2\x82"), false},
        {BYTES("\xf0\x9f\x98"), false},
        {BYTES("\xc3 "), false}, /* broken off by another character */
        {BYTES("\xe2\x82 "), false},
        {BYTES("\xf0\x9f\x98 "), false},
        {BYTES("\xc3\xc3\xa9"), false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        char *text = copy_exactly(rows[i].bytes);
        if (utf8_is_valid((struct slice){text, rows[i].bytes.len}) != rows[i].valid)
            fail_msg("row %zu of the table", i);
        free(text);
    }
}

static size_t utf8_encode(uint32_t point, char text[4])
{
    if (point < 0x80) {
        text[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        text[0] = (char)(0xc0 | point >> 6);
        text[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        text[0] = (char)(0xe0 | point >> 12);
        text[1] = (char)(0x80 | (point >> 6 & 0x3f));
        text[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    text[0] = (char)(0xf0 | point >> 18);
    text[1] = (char)(0x80 | (point >> 12 & 0x3f));
    text[2] = (char)(0x80 | (point >> 6 & 0x3f));
    text[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

static void test_utf8_each_code_point(void **state)
{
    uint32_t point;

    (void)state;
    for (point = 0; point < 0x1fffff; point++) {
        char text[4];
        size_t len = utf8_encode(point, text);
        bool valid = point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff);

        if (utf8_is_valid((struct slice){text, len}) != valid)
            fail_msg("U+%04" PRIX32, point);
        if (len > 1 && utf8_is_valid((struct slice){text, len - 1}))
            fail_msg("U+%04" PRIX32 " without its last byte", point);
    }
}

static void test_utf8_repair(void **state)
{
    static const struct {
        struct slice bytes;
        const char *repaired;
    } rows[] = {
        {BYTES(""), ""},
        {BYTES("caf\xc3\xa9"), "caf\xc3\xa9"},
        {BYTES("caf\xe9"), "caf\xef\xbf\xbd"},
        {BYTES("\xff\xfe"
               "a"),
         "\xef\xbf\xbd\xef\xbf\xbd"
         "a"},
        {BYTES("a\xe2\x82z"), "a\xef\xbf\xbd\xef\xbf\xbdz"},
        {BYTES("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {BYTES("\xc3\xc3\xa9"), "\xef\xbf\xbd\xc3\xa9"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct buffer repaired = {NULL, 0, 0};
        utf8_repair(rows[i].bytes, &repaired);
        assert_slice_equals(buffer_slice(&repaired), slice_of(rows[i].repaired));
        buffer_free(&repaired);
    }
}

static void test_utf8_repair_any_bytes(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 5000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer bytes = {NULL, 0, 0}, repaired = {NULL, 0, 0}, again = {NULL, 0, 0};
        char *copy;

        random_append_of(&random, SLICE_LITERAL("ab\x7f\x80\xbf\xa0\x9f\xc2\xc0\xe0\xe2\xed\xf0\xf4\xf5\xff"),
                         random_below(&random, 16), &bytes);
        copy = copy_exactly(buffer_slice(&bytes));
        utf8_repair((struct slice){copy, bytes.len}, &repaired);
        assert_seeded(utf8_is_valid(buffer_slice(&repaired)), seed);
        if (utf8_is_valid((struct slice){copy, bytes.len}))
            assert_seeded(slice_equals(buffer_slice(&repaired), buffer_slice(&bytes)), seed);
        else
            assert_seeded(repaired.len > bytes.len, seed);
        utf8_repair(buffer_slice(&repaired), &again);
        assert_seeded(slice_equals(buffer_slice(&again), buffer_slice(&repaired)), seed);
        free(copy);
        buffer_free(&bytes);
        buffer_free(&repaired);
        buffer_free(&again);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percent_decode),
        cmocka_unit_test(test_percent_decode_keeps_to_its_slice),
        cmocka_unit_test(test_percent_decode_appends),
        cmocka_unit_test(test_percent_encode),
        cmocka_unit_test(test_percent_encode_each_byte),
        cmocka_unit_test(test_percent_round_trip),
        cmocka_unit_test(test_percent_decode_any_bytes),
        cmocka_unit_test(test_name_problem),
        cmocka_unit_test(test_utf8_is_valid),
        cmocka_unit_test(test_utf8_each_code_point),
        cmocka_unit_test(test_utf8_repair),
        cmocka_unit_test(test_utf8_repair_any_bytes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
