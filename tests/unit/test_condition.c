#include "support.h"

#include "condition.h"
#include "http_date.h"

/* What is there in the tables below: entity tag "a", changed at this time. */
#define ETAG      "\"a\""
#define CHANGED   784111777
#define BEFORE    "Sun, 06 Nov 1994 08:49:36 GMT"
#define SAME_TIME "Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER     "Sun, 06 Nov 1994 08:49:38 GMT"

static const struct validators there = {true, ETAG, CHANGED};
static const struct validators missing = {false, NULL, 0};

struct row {
    const char *if_match, *if_none_match, *if_modified_since, *if_unmodified_since; /* NULL: absent */
    enum condition_result reading, writing;
};

static void check(const struct row *rows, size_t count, const struct validators *validators)
{
    size_t i;

    for (i = 0; i < count; i++) {
        struct conditions conditions = {
            .if_match = slice_of(rows[i].if_match),
            .if_none_match = slice_of(rows[i].if_none_match),
            .if_modified_since = slice_of(rows[i].if_modified_since),
            .if_unmodified_since = slice_of(rows[i].if_unmodified_since),
        };
        enum condition_result reading = conditions_evaluate(&conditions, validators, true);
        enum condition_result writing = conditions_evaluate(&conditions, validators, false);

        if (reading != rows[i].reading || writing != rows[i].writing)
            fail_msg("row %zu: reading gives %d instead of %d, writing %d instead of %d", i, (int)reading,
                     (int)rows[i].reading, (int)writing, (int)rows[i].writing);
        assert_null(conditions_problem(&conditions));
    }
}

#define HOLDS        CONDITION_HOLDS
#define FAILED       CONDITION_FAILED
#define NOT_MODIFIED CONDITION_NOT_MODIFIED

static void test_single_fields(void **state)
{
    static const struct row rows[] = {
        {NULL, NULL, NULL, NULL, HOLDS, HOLDS},

        {"*", NULL, NULL, NULL, HOLDS, HOLDS},
        {" * ", NULL, NULL, NULL, HOLDS, HOLDS},
        {"\"a\"", NULL, NULL, NULL, HOLDS, HOLDS},
        {"\"b\"", NULL, NULL, NULL, FAILED, FAILED},
        {"\"b\", \"a\"", NULL, NULL, NULL, HOLDS, HOLDS},
        {"\"a\",\"b\"", NULL, NULL, NULL, HOLDS, HOLDS},
        {"\"\"", NULL, NULL, NULL, FAILED, FAILED},
        {"\"A\"", NULL, NULL, NULL, FAILED, FAILED},
        {"\"aa\"", NULL, NULL, NULL, FAILED, FAILED},
        {"\"*\"", NULL, NULL, NULL, FAILED, FAILED},
        {"\"a,b\"", NULL, NULL, NULL, FAILED, FAILED},
        /* If-Match compares strongly. */
        {"W/\"a\"", NULL, NULL, NULL, FAILED, FAILED},
        {"W/\"a\", \"a\"", NULL, NULL, NULL, HOLDS, HOLDS},

        {NULL, "*", NULL, NULL, NOT_MODIFIED, FAILED},
        {NULL, "\"a\"", NULL, NULL, NOT_MODIFIED, FAILED},
        {NULL, "\"b\"", NULL, NULL, HOLDS, HOLDS},
        {NULL, "\"b\" ,\t\"a\"", NULL, NULL, NOT_MODIFIED, FAILED},
        {NULL, "\"\"", NULL, NULL, HOLDS, HOLDS},
        /* If-None-Match compares weakly. */
        {NULL, "W/\"a\"", NULL, NULL, NOT_MODIFIED, FAILED},
        {NULL, "W/\"b\", W/\"a\"", NULL, NULL, NOT_MODIFIED, FAILED},
        {NULL, "W/\"b\"", NULL, NULL, HOLDS, HOLDS},

        /* If-Modified-Since is for GET and HEAD only. */
        {NULL, NULL, BEFORE, NULL, HOLDS, HOLDS},
        {NULL, NULL, SAME_TIME, NULL, NOT_MODIFIED, HOLDS},
        {NULL, NULL, AFTER, NULL, NOT_MODIFIED, HOLDS},
        {NULL, NULL, "junk", NULL, HOLDS, HOLDS},
        {NULL, NULL, "", NULL, HOLDS, HOLDS},
        {NULL, NULL, "Sunday, 06-Nov-94 08:49:37 GMT", NULL, NOT_MODIFIED, HOLDS},

        {NULL, NULL, NULL, BEFORE, FAILED, FAILED},
        {NULL, NULL, NULL, SAME_TIME, HOLDS, HOLDS},
        {NULL, NULL, NULL, AFTER, HOLDS, HOLDS},
        {NULL, NULL, NULL, "junk", HOLDS, HOLDS},
        {NULL, NULL, NULL, "", HOLDS, HOLDS},
        {NULL, NULL, NULL, "Sun Nov  6 08:49:36 1994", FAILED, FAILED},
    };

    (void)state;
    check(rows, COUNT_OF(rows), &there);
}

static void test_nothing_there(void **state)
{
    static const struct row rows[] = {
        {NULL, NULL, NULL, NULL, HOLDS, HOLDS},      {"*", NULL, NULL, NULL, FAILED, FAILED},
        {"\"a\"", NULL, NULL, NULL, FAILED, FAILED}, {"\"\"", NULL, NULL, NULL, FAILED, FAILED},
        {NULL, "*", NULL, NULL, HOLDS, HOLDS},       {NULL, "\"a\"", NULL, NULL, HOLDS, HOLDS},
        {NULL, "W/\"a\"", NULL, NULL, HOLDS, HOLDS}, {NULL, NULL, AFTER, NULL, HOLDS, HOLDS},
        {NULL, NULL, NULL, "junk", HOLDS, HOLDS},    {"*", "*", NULL, NULL, FAILED, FAILED},
        {NULL, NULL, NULL, BEFORE, HOLDS, HOLDS},    {NULL, NULL, NULL, AFTER, HOLDS, HOLDS},
    };

    (void)state;
    check(rows, COUNT_OF(rows), &missing);
}

/* RFC 9110, 13.2.2: which field is looked at, and in which order. */
static void test_precedence(void **state)
{
    static const struct row rows[] = {
        /* If-Match makes If-Unmodified-Since unimportant, whether it holds or not. */
        {"\"a\"", NULL, NULL, BEFORE, HOLDS, HOLDS},
        {"\"b\"", NULL, NULL, AFTER, FAILED, FAILED},
        /* If-None-Match makes If-Modified-Since unimportant. */
        {NULL, "\"b\"", AFTER, NULL, HOLDS, HOLDS},
        {NULL, "\"a\"", BEFORE, NULL, NOT_MODIFIED, FAILED},
        {NULL, "\"b\"", BEFORE, NULL, HOLDS, HOLDS},
        {NULL, "\"a\"", AFTER, NULL, NOT_MODIFIED, FAILED},
        /* 412 comes before 304. */
        {"\"b\"", "\"a\"", NULL, NULL, FAILED, FAILED},
        {"\"b\"", NULL, AFTER, NULL, FAILED, FAILED},
        {NULL, "\"a\"", NULL, BEFORE, FAILED, FAILED},
        {NULL, NULL, AFTER, BEFORE, FAILED, FAILED},
        /* The first pair holds, so the second decides. */
        {"\"a\"", "\"a\"", NULL, NULL, NOT_MODIFIED, FAILED},
        {"\"a\"", "\"b\"", NULL, NULL, HOLDS, HOLDS},
        {"\"a\"", NULL, AFTER, NULL, NOT_MODIFIED, HOLDS},
        {"\"a\"", NULL, BEFORE, NULL, HOLDS, HOLDS},
        {NULL, "\"a\"", NULL, AFTER, NOT_MODIFIED, FAILED},
        {NULL, "\"b\"", NULL, AFTER, HOLDS, HOLDS},
        {NULL, NULL, SAME_TIME, SAME_TIME, NOT_MODIFIED, HOLDS},
        /* A date that is none does not count, and the field goes as if it were not there. */
        {NULL, NULL, AFTER, "junk", NOT_MODIFIED, HOLDS},
        {NULL, "\"b\"", "junk", "junk", HOLDS, HOLDS},
        /* All four. */
        {"\"a\"", "\"b\"", AFTER, BEFORE, HOLDS, HOLDS},
        {"*", "*", BEFORE, BEFORE, NOT_MODIFIED, FAILED},
    };

    (void)state;
    check(rows, COUNT_OF(rows), &there);
}

static void test_problem(void **state)
{
    static const struct {
        struct slice list;
        bool well;
    } rows[] = {
        {BYTES("*"), true},
        {BYTES("\t* "), true},
        {BYTES("\"a\""), true},
        {BYTES("\"\""), true},
        {BYTES("\"a\",\"b\""), true},
        {BYTES(" \"a\" , W/\"b\" "), true},
        {BYTES("\"W/\""), true},
        {BYTES("\"a,b\", \"*\""), true},
        {BYTES("\"caf\xc3\xa9\""), true},
        {BYTES("\"back\\slash\""), true},
        /* Empty members of a list are to be passed over (RFC 9110, 5.6.1.2). */
        {BYTES("\"a\","), true},
        {BYTES("\"a\",,\"b\""), true},
        {BYTES("\"a\", ,\t, \"b\" ,"), true},
        {BYTES(",\"a\""), true},
        {BYTES(" , , \"a\""), true},

        {BYTES("a"), false},
        {BYTES("a\""), false},
        {BYTES("\""), false},
        {BYTES("\"a"), false},
        {BYTES("'a'"), false},
        {BYTES("\"a\" \"b\""), false},
        {BYTES("\"a\"\"b\""), false},
        {BYTES("\"a\"; \"b\""), false},
        {BYTES("\"a\", b"), false},
        {BYTES("\"a\", *"), false},
        {BYTES("*, \"a\""), false},
        {BYTES("**"), false},
        {BYTES("w/\"a\""), false}, /* the W counts its case */
        {BYTES("W\"a\""), false},
        {BYTES("W/"), false},
        {BYTES("W/a"), false},
        {BYTES("W/ \"a\""), false},
        {BYTES("\"a\"\0,\"b\""), false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        char *copy = copy_exactly(rows[i].list);
        struct conditions conditions = {.if_match = {copy, rows[i].list.len}};

        assert_row((conditions_problem(&conditions) == NULL) == rows[i].well, rows[i].list.base);
        if (!rows[i].well)
            assert_non_null(strstr(conditions_problem(&conditions), "If-Match"));
        conditions.if_none_match = conditions.if_match;
        conditions.if_match = SLICE_ABSENT;
        assert_row((conditions_problem(&conditions) == NULL) == rows[i].well, rows[i].list.base);
        if (!rows[i].well)
            assert_non_null(strstr(conditions_problem(&conditions), "If-None-Match"));
        free(copy);
    }
}

/* Wrong dates are ignored, not complained about (RFC 9110, 13.1.3 and 13.1.4). */
static void test_problem_not_with_dates(void **state)
{
    struct conditions conditions = {
        .if_modified_since = slice_of("junk"),
        .if_unmodified_since = slice_of("junk"),
        .if_range = slice_of("junk"),
    };

    (void)state;
    assert_null(conditions_problem(&conditions));
}

static void test_if_range(void **state)
{
    static const struct {
        const char *field;
        bool use_range;
    } rows[] = {
        {NULL, true},
        {"\"a\"", true},
        {" \"a\" ", true},
        {"\"b\"", false},
        {"\"a", false},
        {"a", false},
        /* A weak tag never counts, one is not a list, and * is not one. */
        {"W/\"a\"", false},
        {"\"a\", \"b\"", false},
        {"*", false},
        {"", false},
        {"W", false},
        {"\"", false},
        /* A date has to be the same, an earlier or later one does not do. */
        {SAME_TIME, true},
        {"Sunday, 06-Nov-94 08:49:37 GMT", true},
        {"Sun Nov  6 08:49:37 1994", true},
        {BEFORE, false},
        {AFTER, false},
        {"junk", false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct conditions conditions = {.if_range = slice_of(rows[i].field)};
        assert_row(condition_if_range(&conditions, &there, INT64_MAX) == rows[i].use_range,
                   rows[i].field != NULL ? rows[i].field : "(absent)");
    }
}

/* The name of the day must not be taken for the beginning of an entity tag, nor anything else. */
static void test_if_range_within_the_second(void **state)
{
    struct validators late = {true, ETAG, 784111777};
    struct conditions conditions = {.if_range = slice_of("Sun, 06 Nov 1994 08:49:37 GMT")};

    (void)state;
    assert_false(condition_if_range(&conditions, &late, 784111777));
    assert_true(condition_if_range(&conditions, &late, 784111778));
    conditions.if_range = slice_of(ETAG);
    assert_true(condition_if_range(&conditions, &late, 784111777));
}

static void test_if_range_on_each_weekday(void **state)
{
    int day;

    (void)state;
    for (day = 0; day < 7; day++) {
        struct validators validators = {true, ETAG, CHANGED + day * 86400};
        struct conditions conditions = {.if_range = SLICE_ABSENT};
        char date[HTTP_DATE_SIZE];

        http_date_format(validators.modified_seconds, date);
        conditions.if_range = slice_of(date);
        assert_row(condition_if_range(&conditions, &validators, INT64_MAX), date);
        validators.modified_seconds++;
        assert_row(!condition_if_range(&conditions, &validators, INT64_MAX), date);
    }
}

/* Random lists of tags, of which it is known while they are built whether they match. */
static void test_lists_against_model(void **state)
{
    static const char *const separators[] = {",", ", ", " ,", "\t,\t", ",,", " , , "};
    static const char *const tags[] = {"\"a\"", "\"b\"", "\"\"", "\"aa\"", "\"a,a\"", "\" a\"", "\"W/\""};
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 5000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer list = {NULL, 0, 0};
        size_t count = 1 + random_below(&random, 5), i;
        bool matches_weakly = false, matches_strongly = false;
        struct conditions match = {.if_match = SLICE_ABSENT}, none_match = match;
        char *copy;

        for (i = 0; i < count; i++) {
            const char *tag = tags[random_below(&random, COUNT_OF(tags))];
            bool weak = random_below(&random, 3) == 0;

            if (i != 0)
                buffer_append_text(&list, separators[random_below(&random, COUNT_OF(separators))]);
            buffer_printf(&list, "%s%s", weak ? "W/" : "", tag);
            matches_weakly = matches_weakly || strcmp(tag, ETAG) == 0;
            matches_strongly = matches_strongly || (!weak && strcmp(tag, ETAG) == 0);
        }
        copy = copy_exactly(buffer_slice(&list));
        match.if_match = (struct slice){copy, list.len};
        none_match.if_none_match = match.if_match;

        assert_seeded(conditions_problem(&match) == NULL, seed);
        assert_seeded(conditions_problem(&none_match) == NULL, seed);
        assert_seeded(conditions_evaluate(&match, &there, true) == (matches_strongly ? HOLDS : FAILED), seed);
        assert_seeded(conditions_evaluate(&match, &missing, false) == FAILED, seed);
        assert_seeded(
            conditions_evaluate(&none_match, &there, true) == (matches_weakly ? NOT_MODIFIED : HOLDS), seed);
        assert_seeded(conditions_evaluate(&none_match, &there, false) == (matches_weakly ? FAILED : HOLDS),
                      seed);
        assert_seeded(conditions_evaluate(&none_match, &missing, false) == HOLDS, seed);
        free(copy);
        buffer_free(&list);
    }
}

/* Whatever the bytes: what is malformed never lets a guarded write through by If-Match. */
static void test_lists_of_any_bytes(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 20000; seed++) {
        struct random random = random_seeded(seed);
        struct conditions conditions = {.if_match = SLICE_ABSENT};
        struct buffer list = {NULL, 0, 0};
        char *copy;

        random_append_of(&random, SLICE_LITERAL("\"\"\"aa,, \tW/*\0"), random_below(&random, 16), &list);
        copy = copy_exactly(buffer_slice(&list));
        conditions.if_match = (struct slice){copy, list.len};
        if (conditions_problem(&conditions) != NULL)
            assert_seeded(conditions_evaluate(&conditions, &there, false) == FAILED, seed);
        conditions.if_range = conditions.if_match;
        if (condition_if_range(&conditions, &there, INT64_MAX))
            assert_seeded(slice_is(slice_trim(conditions.if_range), ETAG), seed);
        free(copy);
        buffer_free(&list);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_fields),
        cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_problem),
        cmocka_unit_test(test_problem_not_with_dates),
        cmocka_unit_test(test_if_range),
        cmocka_unit_test(test_if_range_within_the_second),
        cmocka_unit_test(test_if_range_on_each_weekday),
        cmocka_unit_test(test_lists_against_model),
        cmocka_unit_test(test_lists_of_any_bytes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
