#include "support.h"

#include "accept.h"

static void test_accept(void **state)
{
    static const struct {
        const char *field;
        bool text;
    } rows[] = {
        {"", false},
        {"*/*", false},
        {"application/json", false},
        {"text/plain", true},
        {"TEXT/Plain", true},
        {" text/plain ", true},
        {"text/plain;charset=utf-8", true},
        {"text/plain; format=flowed; q=0.5", true},
        {"text/html", false},
        {"text/plainer", false},
        {"text", false},
        {"image/png", false},

        /* The larger weight. */
        {"text/plain;q=0.5, application/json", false},
        {"text/plain, application/json;q=0.5", true},
        {"text/plain;q=0.501, application/json;q=0.5", true},
        {"text/plain;q=0.5, application/json;q=0.501", false},
        {"text/plain;q=1.000, application/json;q=0.999", true},
        {"application/json ; q=0.2 , text/plain ; q=0.3", true},
        {"text/plain;Q=0.2, application/json;q=0.3", false},
        {"text/*;q=0.9, application/json;q=0.8", true},
        {"text/*, application/json;q=0.9", true},
        {"text/plain;q=0.9, */*;q=0.8", true},
        {"text/plain;q=0.8, */*;q=0.9", false},

        /* The same weight: JSON, unless only text is named. */
        {"text/plain, application/json", false},
        {"application/json, text/plain", false},
        {"text/plain;q=0.5, application/json;q=0.50", false},
        {"text/plain, */*", true},
        {"*/*, text/plain", true},
        {"text/plain;q=0.5, */*;q=0.5", true},
        {"text/plain, application/*", true},
        {"text/*, application/json", false},
        {"text/*, application/*", false},
        {"text/*, */*", false},
        {"application/*, */*", false},
        {"text/plain, text/*, */*", true},

        /* The most specific range decides about a type, in whatever order they stand. */
        {"text/*, text/plain;q=0.1, application/json;q=0.5", false},
        {"text/plain;q=0.1, text/*, application/json;q=0.5", false},
        {"*/*;q=0.9, application/json;q=0.1", true},
        {"*/*;q=0.9, application/*;q=0.1", true},
        {"*/*, text/*;q=0.1", false},

        /* 0 means not at all. */
        {"text/plain;q=0", false},
        {"text/plain;q=0.000, */*", false},
        {"text/plain;q=0, application/json;q=0", false},
        {"application/json;q=0, */*", true},
        {"text/plain;q=0.001", true},

        /* What programs send. */
        {"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", false},
        {"text/html, application/json;q=0.9, */*;q=0.1", false},
        {"application/json, text/plain, */*", false},
        {"text/html;level=1, text/plain;q=0.4", true},

        /* Stray separators. */
        {",", false},
        {",,text/plain,,", true},
        {"text/plain;", true},
        {"text/plain;;q=0.5;", true},
        {";q=1", false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct slice field = slice_of(rows[i].field);
        char *copy = copy_exactly(field);
        assert_row(accept_prefers_text((struct slice){copy, field.len}) == rows[i].text, rows[i].field);
        free(copy);
    }
}

static void test_absent(void **state)
{
    (void)state;
    assert_false(accept_prefers_text(SLICE_ABSENT));
}

/* Every pair of weights of up to three digits, in the shortest form that tells them. */
static void test_weights(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 5000; seed++) {
        struct random random = random_seeded(seed);
        unsigned text = (unsigned)random_below(&random, 1001), json = (unsigned)random_below(&random, 1001);
        char field[128];

        if (random_below(&random, 4) == 0)
            text = json + (json < 1000);
        snprintf(field, sizeof(field), "text/plain;q=%u.%03u, application/json;q=%u.%03u", text / 1000,
                 text % 1000, json / 1000, json % 1000);
        assert_seeded(accept_prefers_text(slice_of(field)) == (text > json), seed);
    }
}

/* Nothing that does not speak of text makes it the choice. */
static void test_any_bytes(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 10000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer field = {NULL, 0, 0};
        char *copy;

        random_append_of(&random, SLICE_LITERAL("axjson/*;;,,=q01. \t\"\0\xff"), random_below(&random, 40),
                         &field);
        copy = copy_exactly(buffer_slice(&field));
        assert_seeded(!accept_prefers_text((struct slice){copy, field.len}), seed);
        free(copy);
        buffer_free(&field);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_any_bytes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
