#include "support.h"

#include "name_list.h"

static const struct {
    const char *json;
    size_t count;
    struct slice names[3];
} good[] = {
    {"[]", 0, {{NULL, 0}}},
    {" [ \"a\" ]\n", 1, {BYTES("a")}},
    {"[\"a/b\", \"a%20b\", \"+\"]", 3, {BYTES("a/b"), BYTES("a%20b"), BYTES("+")}},
    {"[\"caf\xc3\xa9\", \"\\u00e9\", \"\\ud83d\\ude00\"]",
     3,
     {BYTES("caf\xc3\xa9"), BYTES("\xc3\xa9"), BYTES("\xf0\x9f\x98\x80")}},
    {"[\"\\\\ud800\", \"\\\\\\\\\"]", 2, {BYTES("\\ud800"), BYTES("\\\\")}},
    {"[{\"name_encoded\": \"%ff%0A\"}, \"x\", {\"name_encoded\":\"a+b/c\"}]",
     3,
     {BYTES("\xff\n"), BYTES("x"), BYTES("a+b/c")}},
    {"[\"same\", \"same\"]", 2, {BYTES("same"), BYTES("same")}},
};

static void test_good(void **state)
{
    size_t row, i;

    (void)state;
    for (row = 0; row < COUNT_OF(good); row++) {
        struct buffer problem = {NULL, 0, 0};
        char *json = copy_exactly(slice_of(good[row].json));
        struct name_list list = {.count = 0};

        assert_row(name_list_parse((struct slice){json, strlen(good[row].json)}, &list, &problem) ==
                       NAME_LIST_OK,
                   good[row].json);
        assert_int_equal(problem.len, 0);
        assert_row(list.count == good[row].count, good[row].json);
        for (i = 0; i < list.count; i++)
            assert_row(slice_equals(name_list_at(&list, i), good[row].names[i]), good[row].json);
        name_list_free(&list);
        free(json);
    }
}

static const struct {
    struct slice json;
    enum name_list_result result;
    const char *problem; /* a part of it */
} bad[] = {
    {BYTES(""), NAME_LIST_MALFORMED, "not JSON"},
    {BYTES("["), NAME_LIST_MALFORMED, "not JSON"},
    {BYTES("[\"a\""), NAME_LIST_MALFORMED, "not JSON"},
    {BYTES("[\"a\",]"), NAME_LIST_MALFORMED, "not JSON"},
    {BYTES("[\"a\"] x"), NAME_LIST_MALFORMED, "not JSON"},
    {BYTES("[\"a\"]\0"), NAME_LIST_MALFORMED, "not JSON"},
    {BYTES("[\"a\"][\"b\"]"), NAME_LIST_MALFORMED, "not JSON"},
    {BYTES("[\"\xff\"]"), NAME_LIST_MALFORMED, "not JSON"},
    {BYTES("[\"a\nb\"]"), NAME_LIST_MALFORMED, "not JSON"},
    {BYTES("\"a\""), NAME_LIST_MALFORMED, "array of names"},
    {BYTES("{\"name_encoded\": \"a\"}"), NAME_LIST_MALFORMED, "array of names"},
    {BYTES("null"), NAME_LIST_MALFORMED, "array of names"},
    {BYTES("1"), NAME_LIST_MALFORMED, "array of names"},
    {BYTES("[\"a\", 1]"), NAME_LIST_MALFORMED, "Entry 1 "},
    {BYTES("[\"a\", \"b\", null]"), NAME_LIST_MALFORMED, "Entry 2 "},
    {BYTES("[true]"), NAME_LIST_MALFORMED, "Entry 0 "},
    {BYTES("[[\"a\"]]"), NAME_LIST_MALFORMED, "Entry 0 "},
    {BYTES("[{}]"), NAME_LIST_MALFORMED, "Entry 0 "},
    {BYTES("[{\"name\": \"a\"}]"), NAME_LIST_MALFORMED, "Entry 0 "},
    {BYTES("[{\"name_encoded\": 1}]"), NAME_LIST_MALFORMED, "Entry 0 "},
    {BYTES("[{\"name_encoded\": [\"a\"]}]"), NAME_LIST_MALFORMED, "Entry 0 "},
    {BYTES("[{\"name_encoded\": {\"name_encoded\": \"a\"}}]"), NAME_LIST_MALFORMED, "Entry 0 "},
    {BYTES("[{\"name_encoded\": \"a\", \"name_encoded\": \"b\"}]"), NAME_LIST_MALFORMED, "Entry 1 "},
    {BYTES("[\"a\", \"\"]"), NAME_LIST_BAD_NAME, "Entry 1 of the list, counted from 0: The name is empty"},
    {BYTES("[{\"name_encoded\": \"\"}]"), NAME_LIST_BAD_NAME, "Entry 0 "},
    {BYTES("[{\"name_encoded\": \"%4\"}]"), NAME_LIST_BAD_NAME, "hexadecimal"},
    {BYTES("[{\"name_encoded\": \"%00\"}]"), NAME_LIST_BAD_NAME, "NUL"},
    {BYTES("[\"a\", \"b\\u0000c\"]"), NAME_LIST_BAD_NAME,
     "Entry 1 of the list, counted from 0: The name holds a NUL"},
    {BYTES("[\"\\ud800\"]"), NAME_LIST_BAD_NAME, "surrogate pair, at byte 2"},
    {BYTES("[\"\\uDC00\\ud800\"]"), NAME_LIST_BAD_NAME, "surrogate"},
    {BYTES("[\"\\ud83d\\u0041\"]"), NAME_LIST_BAD_NAME, "surrogate"},
    {BYTES("[\"\\ud83d\\ud83d\\ude00\"]"), NAME_LIST_BAD_NAME, "surrogate"},
    {BYTES("[\"\\ud83d"), NAME_LIST_BAD_NAME, "surrogate"},
};

static void test_bad(void **state)
{
    size_t row;

    (void)state;
    for (row = 0; row < COUNT_OF(bad); row++) {
        struct buffer problem = {NULL, 0, 0};
        char *json = copy_exactly(bad[row].json);
        struct name_list list = {.count = 0};
        enum name_list_result result =
            name_list_parse((struct slice){json, bad[row].json.len}, &list, &problem);

        assert_row(result == bad[row].result, bad[row].json.base);
        assert_row(strstr(problem.base, bad[row].problem) != NULL, problem.base);
        buffer_free(&problem);
        name_list_free(&list);
        free(json);
    }
}

/* `count` names of `len` bytes. */
static void make_list(size_t count, size_t len, struct buffer *to)
{
    size_t i, j;

    buffer_append_text(to, "[");
    for (i = 0; i < count; i++) {
        buffer_append_text(to, i != 0 ? ",\"" : "\"");
        for (j = 0; j < len; j++)
            buffer_append_text(to, "\\u0001");
        buffer_append_text(to, "\"");
    }
    buffer_append_text(to, "]");
}

static void test_limits(void **state)
{
    struct buffer json = {NULL, 0, 0}, problem = {NULL, 0, 0};
    struct name_list list = {.count = 0};

    (void)state;
    make_list(NAME_LIST_MAX, 1024, &json);
    assert_int_equal(name_list_parse(buffer_slice(&json), &list, &problem), NAME_LIST_OK);
    assert_int_equal(list.count, NAME_LIST_MAX);
    assert_int_equal(name_list_at(&list, NAME_LIST_MAX - 1).len, 1024);
    name_list_free(&list);

    json.len = 0;
    make_list(NAME_LIST_MAX + 1, 1, &json);
    assert_int_equal(name_list_parse(buffer_slice(&json), &list, &problem), NAME_LIST_MALFORMED);
    assert_string_equal(problem.base,
                        "Entry 1000 of the list, counted from 0: There may be 1000 names at most.");
    name_list_free(&list);

    json.len = problem.len = 0;
    make_list(1, 1025, &json);
    assert_int_equal(name_list_parse(buffer_slice(&json), &list, &problem), NAME_LIST_BAD_NAME);
    name_list_free(&list);
    buffer_free(&json);
    buffer_free(&problem);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_limits),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
