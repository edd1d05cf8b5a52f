#include "support.h"

#include "name.h"
#include "query.h"

#define PAIRS_MAX 4

static void test_query(void **state)
{
    static const struct {
        const char *text;
        struct {
            const char *name, *value;
        } pairs[PAIRS_MAX];
        bool wrong; /* behind those pairs */
    } rows[] = {
        {"", {{NULL, NULL}}, false},
        {"&", {{NULL, NULL}}, false},
        {"&&&", {{NULL, NULL}}, false},
        {"a=b", {{"a", "b"}}, false},
        {"a", {{"a", ""}}, false},
        {"a=", {{"a", ""}}, false},
        {"=b", {{"", "b"}}, false},
        {"=", {{"", ""}}, false},
        {"a=b=c", {{"a", "b=c"}}, false},
        {"a==", {{"a", "="}}, false},
        {"a=1&b=2&c=3", {{"a", "1"}, {"b", "2"}, {"c", "3"}}, false},
        {"&a=1&&b=2&", {{"a", "1"}, {"b", "2"}}, false},
        {"a=1&a=2", {{"a", "1"}, {"a", "2"}}, false},
        {"limit=10&prefix", {{"limit", "10"}, {"prefix", ""}}, false},
        {"name=a+b%2Bc%20d", {{"name", "a b+c d"}}, false},
        {"a+b=c", {{"a b", "c"}}, false},
        {"%61%3D=%3d%26", {{"a=", "=&"}}, false},
        {"a=x%2Fy/z", {{"a", "x/y/z"}}, false},
        {"a=1;b=2", {{"a", "1;b=2"}}, false},
        {"a=%", {{NULL, NULL}}, true},
        {"a=%4", {{NULL, NULL}}, true},
        {"%zz=1", {{NULL, NULL}}, true},
        {"a=1&b=%4&c=3", {{"a", "1"}}, true},
        /* An escape never reaches over the end of its parameter. */
        {"a=%4&1=2", {{NULL, NULL}}, true},
        {"a%=41", {{NULL, NULL}}, true},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct slice text = slice_of(rows[i].text);
        char *copy = copy_exactly(text);
        struct query query;
        size_t pair;

        query_begin(&query, (struct slice){copy, text.len});
        for (pair = 0; pair < PAIRS_MAX && rows[i].pairs[pair].name != NULL; pair++) {
            assert_row(query_next(&query) == 1, rows[i].text);
            assert_row(slice_is(buffer_slice(&query.name), rows[i].pairs[pair].name), rows[i].text);
            assert_row(slice_is(buffer_slice(&query.value), rows[i].pairs[pair].value), rows[i].text);
        }
        assert_row(query_next(&query) == (rows[i].wrong ? -1 : 0), rows[i].text);
        assert_row(rows[i].wrong || query_next(&query) == 0, rows[i].text);
        query_end(&query);
        free(copy);
    }
}

static void test_query_absent(void **state)
{
    struct query query;

    (void)state;
    query_begin(&query, SLICE_ABSENT);
    assert_int_equal(query_next(&query), 0);
    query_end(&query);
}

static void test_query_decodes_nul(void **state)
{
    struct query query;

    (void)state;
    query_begin(&query, SLICE_LITERAL("name=a%00b"));
    assert_int_equal(query_next(&query), 1);
    assert_slice_equals(buffer_slice(&query.value), SLICE_LITERAL("a\0b"));
    query_end(&query);
}

static void append_ampersands(struct random *random, struct buffer *text)
{
    size_t count = random_below(random, 3);
    while (count-- != 0)
        buffer_append_text(text, "&");
}

/* Parameters of random bytes, encoded, joined and taken apart again. */
static void test_query_round_trip(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 1000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer names[8] = {{NULL, 0, 0}}, values[8] = {{NULL, 0, 0}}, text = {NULL, 0, 0};
        size_t count = random_below(&random, COUNT_OF(names) + 1), i;
        struct query query;
        char *copy;

        append_ampersands(&random, &text);
        for (i = 0; i < count; i++) {
            random_append_bytes(&random, random_below(&random, 10), &names[i]);
            random_append_bytes(&random, random_below(&random, 20), &values[i]);
            if (i != 0)
                buffer_append_text(&text, "&");
            append_ampersands(&random, &text);
            percent_encode(buffer_slice(&names[i]), random_below(&random, 2) != 0, &text);
            buffer_append_text(&text, "=");
            percent_encode(buffer_slice(&values[i]), random_below(&random, 2) != 0, &text);
        }
        append_ampersands(&random, &text);

        copy = copy_exactly(buffer_slice(&text));
        query_begin(&query, (struct slice){copy, text.len});
        for (i = 0; i < count; i++) {
            assert_seeded(query_next(&query) == 1, seed);
            assert_seeded(slice_equals(buffer_slice(&query.name), buffer_slice(&names[i])), seed);
            assert_seeded(slice_equals(buffer_slice(&query.value), buffer_slice(&values[i])), seed);
            buffer_free(&names[i]);
            buffer_free(&values[i]);
        }
        assert_seeded(query_next(&query) == 0, seed);
        query_end(&query);
        free(copy);
        buffer_free(&text);
    }
}

/* Whatever the text, the parser comes to an end, after no more parameters than the text can hold. */
static void test_query_any_bytes(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 5000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer text = {NULL, 0, 0};
        size_t parameters = 0;
        struct query query;
        char *copy;
        int more;

        random_append_of(&random, SLICE_LITERAL("&&==%%a1f+\0\xff"), random_below(&random, 24), &text);
        copy = copy_exactly(buffer_slice(&text));
        query_begin(&query, (struct slice){copy, text.len});
        while ((more = query_next(&query)) == 1) {
            parameters++;
            assert_seeded(parameters <= (text.len + 1) / 2, seed);
            assert_seeded(query.name.len + query.value.len <= text.len, seed);
        }
        assert_seeded(more == 0 || (more == -1 && memchr(copy, '%', text.len) != NULL), seed);
        query_end(&query);
        free(copy);
        buffer_free(&text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_query_absent),
        cmocka_unit_test(test_query_decodes_nul),
        cmocka_unit_test(test_query_round_trip),
        cmocka_unit_test(test_query_any_bytes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
