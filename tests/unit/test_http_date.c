#include "support.h"

#include <time.h>

#include "http_date.h"

#define FIRST_SECOND_OF_1000 INT64_C(-30610224000)
#define LAST_SECOND_OF_9999  INT64_C(253402300799)

static void test_format(void **state)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } rows[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1709251199, "Thu, 29 Feb 2024 23:59:59 GMT"},
        {2147483647, "Tue, 19 Jan 2038 03:14:07 GMT"},
        {2147483648, "Tue, 19 Jan 2038 03:14:08 GMT"},
        {4294967296, "Sun, 07 Feb 2106 06:28:16 GMT"},
        {LAST_SECOND_OF_9999, "Fri, 31 Dec 9999 23:59:59 GMT"},
        {-1, "Wed, 31 Dec 1969 23:59:59 GMT"},
        {FIRST_SECOND_OF_1000, "Wed, 01 Jan 1000 00:00:00 GMT"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        char text[HTTP_DATE_SIZE];
        http_date_format(rows[i].seconds, text);
        assert_string_equal(text, rows[i].text);
    }
}

/* A time that no four-digit year can tell is still a well-formed date. */
static void test_format_out_of_range(void **state)
{
    static const int64_t times[] = {LAST_SECOND_OF_9999 + 1,
                                    INT64_MAX,
                                    FIRST_SECOND_OF_1000 - 1,
                                    INT64_C(-62200000000),  /* the year -1 */
                                    INT64_C(-100000000000), /* a year of four digits and a sign */
                                    INT64_MIN};
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(times); i++) {
        char text[HTTP_DATE_SIZE];
        int64_t seconds;
        http_date_format(times[i], text);
        assert_int_equal(strlen(text), HTTP_DATE_SIZE - 1);
        assert_true(http_date_parse(slice_of(text), &seconds));
    }
}

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {" \tSun, 06 Nov 1994 08:49:37 GMT \t", 784111777},
        {"Wed Nov 16 08:49:37 1994", 784975777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
        {"Mon, 01 Jan 1900 00:00:00 GMT", -2208988800},
        {"Tue, 29 Feb 2000 00:00:00 GMT", 951782400},
        {"Tue, 19 Jan 2038 03:14:08 GMT", 2147483648},
        {"Fri, 31 Dec 9999 23:59:59 GMT", LAST_SECOND_OF_9999},
        /* Two digits of a year: never more than fifty years ahead. */
        {"Monday, 06-Nov-00 08:49:37 GMT", 973500577},
        {"Friday, 06-Nov-37 08:49:37 GMT", 2141110177},
        {"Saturday, 06-Nov-99 08:49:37 GMT", 941878177},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct slice text = slice_of(rows[i].text);
        char *copy = copy_exactly(text);
        int64_t seconds = 77;

        assert_row(http_date_parse((struct slice){copy, text.len}, &seconds), rows[i].text);
        assert_row(seconds == rows[i].seconds, rows[i].text);
        free(copy);
    }
}

static void test_parse_refuses(void **state)
{
    static const struct slice rows[] = {
        BYTES(""),
        BYTES("   "),
        BYTES("junk"),
        BYTES("0"),
        BYTES("784111777"),
        BYTES("1994-11-06T08:49:37Z"),
        BYTES("Sun, 06 Nov 1994"),
        BYTES("Sun, 06 Nov 1994 08:49:37"),
        BYTES("Sun, 06 Nov 1994 08:49:37 UTC"),
        BYTES("Sun, 06 Nov 1994 08:49:37 +0000"),
        BYTES("Sun, 06 Nov 1994 08:49:37 GMT+1"),
        BYTES("Sun, 06 Nov 1994 08:49:37 GMT, x"),
        BYTES("Sun, 06 Nov 1994 08:49 GMT"),
        BYTES("Sun, 06 Nov 1994 24:00:00 GMT"),
        BYTES("Sun, 06 Nov 1994 08:60:00 GMT"),
        BYTES("Sun, 06 Nov 1994 08:49:62 GMT"),
        BYTES("Sun, 32 Nov 1994 08:49:37 GMT"),
        BYTES("Sun, 00 Nov 1994 08:49:37 GMT"),
        BYTES("Sun, 06 Foo 1994 08:49:37 GMT"),
        BYTES("Foo, 06 Nov 1994 08:49:37 GMT"),
        BYTES("Sun, -6 Nov 1994 08:49:37 GMT"),
        BYTES("Sun, 06 Nov 11994 08:49:37 GMT"),
        BYTES("Sun Nov  6 08:49:37 1994 GMT"),
        BYTES("\"Sun, 06 Nov 1994 08:49:37 GMT\""),
        BYTES("Sun, 06 Nov 1994 08:49:37 GMT\0"),
        BYTES("Sun, 06 Nov 1994 08:49:37 GMT\0 or later"),
        BYTES("Sun, 06 Nov 1994 08:49:37 GMT                                        x"),
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        char *copy = copy_exactly(rows[i]);
        int64_t seconds;
        assert_row(!http_date_parse((struct slice){copy, rows[i].len}, &seconds), rows[i].base);
        free(copy);
    }
}

/* A text of any length, most of it white space that the form allows between its parts. */
static void test_parse_long(void **state)
{
    size_t spaces;

    (void)state;
    for (spaces = 0; spaces < 300; spaces++) {
        struct buffer text = {NULL, 0, 0};
        int64_t seconds = 784111777;
        char *copy;

        buffer_printf(&text, "Sun,%*s06 Nov 1994 08:49:37 GMT", (int)spaces, "");
        copy = copy_exactly(buffer_slice(&text));
        (void)http_date_parse((struct slice){copy, text.len}, &seconds);
        assert_int_equal(seconds, 784111777);
        free(copy);
        buffer_free(&text);
    }
}

static void test_parse_absent(void **state)
{
    int64_t seconds;

    (void)state;
    assert_false(http_date_parse(SLICE_ABSENT, &seconds));
}

/* RFC 822's two digits where four belong: to take them for a year of the first century would let every
 * If-Unmodified-Since fail. */
static void test_parse_short_year(void **state)
{
    int64_t seconds = 0;

    (void)state;
    if (http_date_parse(SLICE_LITERAL("Sun, 06 Nov 94 08:49:37 GMT"), &seconds))
        assert_int_equal(seconds, 784111777);
}

static void test_round_trip(void **state)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"};
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 5000; seed++) {
        struct random random = random_seeded(seed);
        int64_t seconds = (int64_t)random_below(&random, (size_t)LAST_SECOND_OF_9999 + 1), parsed;
        char text[HTTP_DATE_SIZE], other[64];
        time_t time = (time_t)seconds;
        struct tm utc;
        size_t i;

        http_date_format(seconds, text);
        assert_seeded(http_date_parse(slice_of(text), &parsed) && parsed == seconds, seed);
        gmtime_r(&time, &utc);
        for (i = 0; i < COUNT_OF(forms); i++) {
            strftime(other, sizeof(other), forms[i], &utc);
            assert_seeded(i != 0 || strcmp(text, other) == 0, seed);
            assert_seeded(http_date_parse(slice_of(other), &parsed) && parsed == seconds, seed);
        }
    }
}

/* The form of RFC 850, in the years for which its two digits can stand whatever today is. */
static void test_round_trip_rfc850(void **state)
{
    const int64_t first = 915148800, last = 2145916799; /* 1999 to 2037 */
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 2000; seed++) {
        struct random random = random_seeded(seed);
        int64_t seconds = first + (int64_t)random_below(&random, (size_t)(last - first + 1)), parsed;
        time_t time = (time_t)seconds;
        char text[64];
        struct tm utc;

        gmtime_r(&time, &utc);
        strftime(text, sizeof(text), "%A, %d-%b-%y %H:%M:%S GMT", &utc);
        assert_seeded(http_date_parse(slice_of(text), &parsed) && parsed == seconds, seed);
    }
}

/* A byte changed somewhere: refused or taken, but never read beyond the end. */
static void test_parse_any_bytes(void **state)
{
    static const char *const texts[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994"};
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 5000; seed++) {
        struct random random = random_seeded(seed);
        struct slice text = slice_of(texts[random_below(&random, COUNT_OF(texts))]);
        size_t len = random_below(&random, text.len + 1);
        char *copy = copy_exactly((struct slice){text.base, len});
        int64_t seconds = 0;

        if (len != 0)
            copy[random_below(&random, len)] = (char)random_next(&random);
        if (http_date_parse((struct slice){copy, len}, &seconds))
            assert_seeded(seconds <= LAST_SECOND_OF_9999, seed);
        else
            assert_seeded(seconds == 0, seed);
        free(copy);
    }
}

/* Dates are UTC, wherever the server stands. */
static void test_time_zone(void **state)
{
    char text[HTTP_DATE_SIZE], time[RFC3339_SIZE];
    int64_t seconds = 0;

    (void)state;
    assert_int_equal(setenv("TZ", "XYZ+7:30XDT", 1), 0);
    tzset();
    http_date_format(784111777, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_true(http_date_parse(slice_of(text), &seconds));
    assert_int_equal(seconds, 784111777);
    rfc3339_format(INT64_C(784111777) * 1000000000, time);
    assert_string_equal(time, "1994-11-06T08:49:37.000000Z");
    unsetenv("TZ");
    tzset();
}

static void test_rfc3339(void **state)
{
    static const struct {
        int64_t nanoseconds;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {999, "1970-01-01T00:00:00.000000Z"},
        {1000, "1970-01-01T00:00:00.000001Z"},
        {999999999, "1970-01-01T00:00:00.999999Z"},
        {1000000000, "1970-01-01T00:00:01.000000Z"},
        {INT64_C(784111777123456789), "1994-11-06T08:49:37.123456Z"},
        {INT64_C(1709251199000000001), "2024-02-29T23:59:59.000000Z"},
        {INT64_MAX, "2262-04-11T23:47:16.854775Z"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        char text[RFC3339_SIZE];
        rfc3339_format(rows[i].nanoseconds, text);
        assert_string_equal(text, rows[i].text);
    }
}

/* Times before 1970 come from damaged or foreign manifests only; the form stays the same. */
static void test_rfc3339_negative(void **state)
{
    static const int64_t times[] = {-1, -1000, -999999999, -1000000000, -1500000000, INT64_MIN};
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(times); i++) {
        char text[RFC3339_SIZE];
        rfc3339_format(times[i], text);
        assert_int_equal(strlen(text), RFC3339_SIZE - 1);
        assert_int_equal(text[10], 'T');
        assert_int_equal(text[19], '.');
        assert_int_equal(text[26], 'Z');
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_format_out_of_range),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_parse_absent),
        cmocka_unit_test(test_parse_long),
        cmocka_unit_test(test_parse_short_year),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_round_trip_rfc850),
        cmocka_unit_test(test_parse_any_bytes),
        cmocka_unit_test(test_time_zone),
        cmocka_unit_test(test_rfc3339),
        cmocka_unit_test(test_rfc3339_negative),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
