#include "support.h"

#include "json.h"
#include "name.h"

/* The document's tree; a document that is not JSON fails the test. For yajl_tree_free. */
static yajl_val parse(const char *text)
{
    char problem[256] = "";
    yajl_val tree = yajl_tree_parse(text, problem, sizeof(problem));

    if (tree == NULL)
        fail_msg("%s: %s", problem, text);
    return tree;
}

static void test_generate(void **state)
{
    struct buffer text = {NULL, 0, 0};
    yajl_gen gen = json_begin();

    (void)state;
    yajl_gen_map_open(gen);
    json_member_string(gen, "string", SLICE_LITERAL("a\"b\\c\n\x01\x7f/"));
    json_member_string(gen, "absent", SLICE_ABSENT);
    json_member_text(gen, "text", "caf\xc3\xa9");
    json_member_number(gen, "most", INT64_MAX);
    json_member_number(gen, "least", INT64_MIN);
    json_text(gen, "list");
    yajl_gen_array_open(gen);
    json_string(gen, SLICE_LITERAL("x"));
    json_text(gen, "");
    yajl_gen_array_close(gen);
    yajl_gen_map_close(gen);

    buffer_append_text(&text, "before: ");
    json_finish(gen, &text);
    assert_string_equal(text.base, "before: {\n"
                                   "  \"string\": \"a\\\"b\\\\c\\n\\u0001\x7f/\",\n"
                                   "  \"absent\": \"\",\n"
                                   "  \"text\": \"caf\xc3\xa9\",\n"
                                   "  \"most\": 9223372036854775807,\n"
                                   "  \"least\": -9223372036854775808,\n"
                                   "  \"list\": [\n"
                                   "    \"x\",\n"
                                   "    \"\"\n"
                                   "  ]\n"
                                   "}\n");
    buffer_free(&text);
}

static void test_empty_object(void **state)
{
    struct buffer text = {NULL, 0, 0};
    yajl_gen gen = json_begin();
    yajl_val tree;

    (void)state;
    yajl_gen_map_open(gen);
    yajl_gen_map_close(gen);
    json_finish(gen, &text);
    tree = parse(text.base);
    assert_true(YAJL_IS_OBJECT(tree));
    assert_int_equal(text.base[text.len - 1], '\n');
    yajl_tree_free(tree);
    buffer_free(&text);
}

static void test_string_that_is_not_utf8(void **state)
{
    struct buffer text = {NULL, 0, 0};
    yajl_gen gen = json_begin();

    (void)state;
    json_string(gen, SLICE_LITERAL("caf\xe9!\xff"));
    json_finish(gen, &text);
    assert_string_equal(text.base, "\"caf\xef\xbf\xbd!\xef\xbf\xbd\"\n");
    buffer_free(&text);
}

static void test_name(void **state)
{
    static const struct {
        struct slice name;
        const char *shown;
        const char *encoded; /* NULL: no such member */
    } rows[] = {
        {BYTES("plain/name"), "plain/name", NULL},
        {BYTES("caf\xc3\xa9"), "caf\xc3\xa9", NULL},
        {BYTES("100%"), "100%", NULL},
        {BYTES("caf\xe9/x y"), "caf\xef\xbf\xbd/x y", "caf%E9/x%20y"},
        {BYTES("\xff%"), "\xef\xbf\xbd%", "%FF%25"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct buffer text = {NULL, 0, 0};
        yajl_gen gen = json_begin();
        yajl_val tree;
        const char *encoded;

        yajl_gen_map_open(gen);
        json_member_name(gen, "next", rows[i].name);
        yajl_gen_map_close(gen);
        json_finish(gen, &text);
        tree = parse(text.base);
        assert_string_equal(json_text_at(tree, "next", "?"), rows[i].shown);
        encoded = json_text_at(tree, "next_encoded", NULL);
        if (rows[i].encoded == NULL)
            assert_null(encoded);
        else
            assert_string_equal(encoded, rows[i].encoded);
        yajl_tree_free(tree);
        buffer_free(&text);
    }
}

/* Of every name, exactly the bytes can be had back: from `name` itself or from `name_encoded`. */
static void test_name_round_trip(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 2000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer name = {NULL, 0, 0}, text = {NULL, 0, 0}, back = {NULL, 0, 0};
        yajl_gen gen = json_begin();
        const char *encoded;
        yajl_val tree;
        size_t i;

        if (random_below(&random, 2) != 0)
            random_append_bytes(&random, random_below(&random, 30), &name);
        else
            random_append_of(&random, SLICE_LITERAL("\"\\/\b\f\n\r\t\x01\x1f\x7f az%+"),
                             random_below(&random, 30), &name);
        for (i = 0; i < name.len; i++)
            if (name.base[i] == '\0')
                name.base[i] = 'n';

        yajl_gen_map_open(gen);
        json_member_name(gen, "name", buffer_slice(&name));
        yajl_gen_map_close(gen);
        json_finish(gen, &text);
        tree = parse(text.base);

        encoded = json_text_at(tree, "name_encoded", NULL);
        if (encoded != NULL)
            assert_seeded(percent_decode(slice_of(encoded), PERCENT_PLUS_IS_PLUS, &back), seed);
        else
            buffer_append_text(&back, json_text_at(tree, "name", "?"));
        assert_seeded(slice_equals(buffer_slice(&back), buffer_slice(&name)), seed);
        assert_seeded((encoded == NULL) == utf8_is_valid(buffer_slice(&name)), seed);
        yajl_tree_free(tree);
        buffer_free(&name);
        buffer_free(&text);
        buffer_free(&back);
    }
}

static void test_walk(void **state)
{
    yajl_val tree = parse("{\"number\": 5, \"half\": 2.5, \"text\": \"t\", \"yes\": true, \"nothing\": null,"
                          " \"list\": [1], \"empty\": {}, \"a\": {\"b\": {\"c\": -7, \"s\": \"deep\"}}}");

    (void)state;
    assert_int_equal(json_number_at(tree, "number", -1), 5);
    assert_int_equal(json_number_at(tree, "half", -1), 2);
    assert_int_equal(json_number_at(tree, "a.b.c", -1), -7);
    assert_int_equal(json_number_at(tree, "missing", -1), -1);
    assert_int_equal(json_number_at(tree, "text", -1), -1);
    assert_int_equal(json_number_at(tree, "nothing", -1), -1);
    assert_int_equal(json_number_at(tree, "a.b", -1), -1);
    assert_int_equal(json_number_at(tree, "a.b.c.d", -1), -1);
    assert_int_equal(json_number_at(tree, "number.x", -1), -1);
    assert_int_equal(json_number_at(tree, "empty.x", -1), -1);
    assert_int_equal(json_number_at(tree, "list.x", -1), -1);
    assert_int_equal(json_number_at(NULL, "number", -1), -1);

    assert_string_equal(json_text_at(tree, "text", "?"), "t");
    assert_string_equal(json_text_at(tree, "a.b.s", "?"), "deep");
    assert_string_equal(json_text_at(tree, "number", "?"), "?");
    assert_string_equal(json_text_at(tree, "missing", "?"), "?");
    assert_null(json_text_at(tree, "a.b.missing", NULL));
    assert_null(json_text_at(NULL, "text", NULL));

    assert_true(YAJL_IS_ARRAY(json_at(tree, "list")));
    assert_true(YAJL_IS_OBJECT(json_at(tree, "a.b")));
    assert_true(YAJL_IS_TRUE(json_at(tree, "yes")));
    assert_null(json_at(tree, "a.x"));
    assert_null(json_at(NULL, "a"));
    yajl_tree_free(tree);
}

/* A path that is deeper than the tree is not there, however deep it is. */
static void test_walk_deep(void **state)
{
    yajl_val tree = parse("{\"1\":{\"2\":{\"3\":{\"4\":{\"5\":{\"6\":{\"7\":{\"8\":8}}}}}}}}");

    (void)state;
    assert_int_equal(json_number_at(tree, "1.2.3.4.5.6.7.8", -1), 8);
    assert_null(json_at(tree, "1.2.3.4.5.6.7.8.9"));
    assert_null(json_at(tree, "1.2.3.4.5.6.7.8.9.10.11.12"));
    yajl_tree_free(tree);
}

/* Ceph counts some things in 64 bits without a sign; what does not fit must not turn negative. */
static void test_numbers_beyond_the_range(void **state)
{
    static const char *const documents[] = {"{\"n\": 18446744073709551615}", "{\"n\": 9223372036854775808}",
                                            "{\"n\": 1e300}"};
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(documents); i++) {
        yajl_val tree = parse(documents[i]);
        assert_row(json_number_at(tree, "n", 0) >= 0, documents[i]);
        yajl_tree_free(tree);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_empty_object),
        cmocka_unit_test(test_string_that_is_not_utf8),
        cmocka_unit_test(test_name),
        cmocka_unit_test(test_name_round_trip),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_walk_deep),
        cmocka_unit_test(test_numbers_beyond_the_range),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
