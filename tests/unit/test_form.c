#include "support.h"

#include "form.h"

#define CRLF        "\r\n"
#define DISPOSITION "Content-Disposition: form-data; name=\"file\"; filename=\"x\"" CRLF

/* ---- the boundary ---- */

static void test_boundary(void **state)
{
    static const struct {
        const char *content_type;
        const char *boundary; /* NULL: none */
        bool problem;
    } rows[] = {
        {"multipart/form-data; boundary=abc", "abc", false},
        {"multipart/form-data;boundary=abc", "abc", false},
        {"Multipart/Form-Data; Boundary=AbC", "AbC", false},
        {" multipart/form-data ;\tboundary = abc ", "abc", false},
        {"multipart/form-data; boundary=\"abc\"", "abc", false},
        {"multipart/form-data; boundary=\"a b:c\"", "a b:c", false},
        {"multipart/form-data; boundary=\"a;b\"", "a;b", false},
        {"multipart/form-data; charset=utf-8; boundary=abc", "abc", false},
        {"multipart/form-data; boundary=abc; charset=utf-8", "abc", false},
        {"multipart/form-data; x=\"; boundary=no\"; boundary=yes", "yes", false},
        {"multipart/form-data; x=\"a\\\"; boundary=no\"; boundary=yes", "yes", false},
        {"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
         "----WebKitFormBoundary7MA4YWxkTrZu0gW", false},
        /* 70 characters are the most. */
        {"multipart/form-data; "
         "boundary=1234567890123456789012345678901234567890123456789012345678901234567890",
         "1234567890123456789012345678901234567890123456789012345678901234567890", false},
        {"multipart/form-data; "
         "boundary=12345678901234567890123456789012345678901234567890123456789012345678901",
         NULL, true},

        {"multipart/form-data", NULL, true},
        {"multipart/form-data;", NULL, true},
        {"multipart/form-data; boundary=", NULL, true},
        {"multipart/form-data; boundary=\"\"", NULL, true},
        {"multipart/form-data; boundary=\"abc", NULL, true},
        {"multipart/form-data; boundary=\"", NULL, true},
        {"multipart/form-data; boundary", NULL, true},
        {"multipart/form-data; xboundary=abc", NULL, true},
        {"multipart/form-data boundary=abc", NULL, false},

        {"", NULL, false},
        {"text/plain", NULL, false},
        {"text/plain; boundary=abc", NULL, false},
        {"multipart/mixed; boundary=abc", NULL, false},
        {"multipart/form-data2; boundary=abc", NULL, false},
        {"application/x-www-form-urlencoded", NULL, false},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct slice type = slice_of(rows[i].content_type);
        char *copy = copy_exactly(type);
        const char *problem = "untouched";
        struct slice boundary = form_boundary((struct slice){copy, type.len}, &problem);

        assert_row((boundary.base != NULL) == (rows[i].boundary != NULL), rows[i].content_type);
        assert_row(rows[i].boundary == NULL || slice_is(boundary, rows[i].boundary), rows[i].content_type);
        assert_row((problem != NULL) == rows[i].problem, rows[i].content_type);
        free(copy);
    }
}

/* ---- forms as they come ---- */

/* The body in memory of its own size; *copy is for free(). */
static const char *parse(struct slice body, const char *boundary, struct form *form, char **copy)
{
    *copy = copy_exactly(body);
    return form_parse((struct slice){*copy, body.len}, slice_of(boundary), NULL, NULL, form);
}

static void test_one_file(void **state)
{
    static const struct slice body =
        BYTES("--b" CRLF "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"" CRLF
              "Content-Type: text/plain" CRLF CRLF "hello" CRLF "--b--" CRLF);
    struct form form;
    char *copy;

    (void)state;
    assert_null(parse(body, "b", &form, &copy));
    assert_int_equal(form.count, 1);
    assert_slice_equals(form.files[0].name, SLICE_LITERAL("a.txt"));
    assert_slice_equals(form.files[0].media_type, SLICE_LITERAL("text/plain"));
    assert_slice_equals(form.files[0].content, SLICE_LITERAL("hello"));
    assert_true(slice_is_within(form.files[0].content, (struct slice){copy, body.len}));
    form_free(&form);
    assert_int_equal(form.count, 0);
    free(copy);
}

static void test_several_parts(void **state)
{
    static const char body[] =
        "This is the preamble." CRLF "--b \t" CRLF "content-disposition:form-data;name=comment" CRLF CRLF
        "not a file" CRLF "--b" CRLF "X-Other: is passed over" CRLF "Content-Type:image/png; q=\"a;b\" " CRLF
        "CONTENT-DISPOSITION: Form-Data; FileName=one.png; name=f" CRLF CRLF "\x89PNG\r\n\0--b" CRLF
        "--b" CRLF "Content-Disposition: form-data; name=\"f\"; filename=\"two\"" CRLF CRLF CRLF "--b" CRLF
        "Content-Disposition: form-data; name=\"left empty\"; filename=\"\"" CRLF
        "Content-Type: application/octet-stream" CRLF CRLF CRLF "--b--" CRLF "This is the epilogue." CRLF
        "--b" CRLF "no part";
    struct form form;
    char *copy;

    (void)state;
    assert_null(parse((struct slice){body, sizeof(body) - 1}, "b", &form, &copy));
    assert_int_equal(form.count, 2);
    assert_slice_equals(form.files[0].name, SLICE_LITERAL("one.png"));
    assert_slice_equals(form.files[0].media_type, SLICE_LITERAL("image/png; q=\"a;b\""));
    assert_slice_equals(form.files[0].content, SLICE_LITERAL("\x89PNG\r\n\0--b"));
    assert_slice_equals(form.files[1].name, SLICE_LITERAL("two"));
    assert_null(form.files[1].media_type.base);
    assert_int_equal(form.files[1].content.len, 0);
    form_free(&form);
    free(copy);
}

static void test_no_parts(void **state)
{
    struct form form;
    char *copy;

    (void)state;
    assert_null(parse(SLICE_LITERAL("--b--" CRLF), "b", &form, &copy));
    assert_int_equal(form.count, 0);
    form_free(&form);
    free(copy);
    assert_null(parse(SLICE_LITERAL("--b--"), "b", &form, &copy));
    assert_int_equal(form.count, 0);
    form_free(&form);
    free(copy);
}

/* The line break that ends the header of a part may be the one that begins the delimiter. */
static void test_empty_content_without_its_line_break(void **state)
{
    struct form form;
    char *copy;

    (void)state;
    assert_null(parse(SLICE_LITERAL("--b" CRLF DISPOSITION CRLF "--b--" CRLF), "b", &form, &copy));
    assert_int_equal(form.count, 1);
    assert_int_equal(form.files[0].content.len, 0);
    form_free(&form);
    free(copy);
}

/* What looks like the boundary but is not one belongs to the content. */
static void test_content_like_a_boundary(void **state)
{
    static const struct slice contents[] = {
        BYTES("-boundary"),
        BYTES("--boundar"),
        BYTES(CRLF "--boundar"),
        BYTES(CRLF "--boundarx"),
        BYTES(CRLF "-boundary"),
        BYTES(CRLF "- -boundary"),
        BYTES(CRLF "boundary"),
        BYTES("x--boundary" CRLF),
        BYTES("x--boundary--" CRLF),
        BYTES("\n--boundary\n"),
        BYTES("\r--boundary\r"),
        BYTES(CRLF CRLF "--BOUNDARY"),
        BYTES(CRLF),
        BYTES(CRLF CRLF),
        BYTES("\r"),
        BYTES("\n"),
        BYTES(CRLF "\r"),
        BYTES(CRLF "-"),
        BYTES(CRLF "--"),
        BYTES("Content-Type: text/plain" CRLF CRLF),
        BYTES("\0"),
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(contents); i++) {
        struct buffer body = {NULL, 0, 0};
        struct form form;
        char *copy;

        buffer_append_text(&body, "--boundary" CRLF DISPOSITION CRLF);
        buffer_append_slice(&body, contents[i]);
        buffer_append_text(&body, CRLF "--boundary--" CRLF);
        assert_row(parse(buffer_slice(&body), "boundary", &form, &copy) == NULL, contents[i].base);
        assert_int_equal(form.count, 1);
        assert_row(slice_equals(form.files[0].content, contents[i]), contents[i].base);
        form_free(&form);
        free(copy);
        buffer_free(&body);
    }
}

static void test_filename(void **state)
{
    static const struct {
        const char *parameter;
        struct slice name; /* absent: not a file */
    } rows[] = {
        {"filename=\"a b.txt\"", BYTES("a b.txt")},
        {"filename=a.txt", BYTES("a.txt")},
        {"filename=a.txt ", BYTES("a.txt")},
        {"FILENAME = \"a\"", BYTES("a")},
        {"filename=\"dir/a\"; name=\"f\"", BYTES("dir/a")},
        {"filename=\"a;b=c\"", BYTES("a;b=c")},
        {"filename=\"caf\xc3\xa9\"", BYTES("caf\xc3\xa9")},
        {"filename=\"caf\xe9\"", BYTES("caf\xe9")},
        /* As browsers write what cannot stand there. */
        {"filename=\"say %22hi%22\"", BYTES("say \"hi\"")},
        {"filename=\"a%0D%0Ab%0d%0ac\"", BYTES("a\r\nb\r\nc")},
        /* They leave every other percent sign alone. */
        {"filename=\"100%\"", BYTES("100%")},
        {"filename=\"a%20b%41%00%2\"", BYTES("a%20b%41%00%2")},
        {"filename=\"a%0\"", BYTES("a%0")},
        /* As older clients escape. */
        {"filename=\"say \\\"hi\\\"\"", BYTES("say \"hi\"")},
        {"filename=\"a\\\\b\"", BYTES("a\\b")},
        {"filename=\"a\\\\\"", BYTES("a\\")},
        {"filename=\"\\\"; filename=no\"", BYTES("\"; filename=no")},
        /* A backslash before anything else is one, as in a path of Windows. */
        {"filename=\"C:\\temp\\new.txt\"", BYTES("C:\\temp\\new.txt")},
        {"filename=\"\\%22\"", BYTES("\\\"")},

        /* Only quotes give the backslash a meaning. */
        {"filename=a\\\\b", BYTES("a\\\\b")},
        /* Parameters that are empty are passed over. */
        {"; ;name=n;\t; filename=\"a\";", BYTES("a")},

        {"", {NULL, 0}},
        {"filename=\"\"", {NULL, 0}},
        {"filename=", {NULL, 0}},
        {"name=\"filename\"", {NULL, 0}},
        {"name=\"x; filename=y\"", {NULL, 0}},
        {"filename*=UTF-8''a.txt", {NULL, 0}}, /* RFC 7578, 4.2 forbids it */
        {"xfilename=\"a\"", {NULL, 0}},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct buffer body = {NULL, 0, 0};
        struct form form;
        char *copy;

        buffer_printf(&body,
                      "--b" CRLF "Content-Disposition: form-data; %s" CRLF CRLF "content" CRLF "--b--" CRLF,
                      rows[i].parameter);
        assert_row(parse(buffer_slice(&body), "b", &form, &copy) == NULL, rows[i].parameter);
        assert_row(form.count == (rows[i].name.base != NULL), rows[i].parameter);
        if (form.count != 0)
            assert_row(slice_equals(form.files[0].name, rows[i].name), rows[i].parameter);
        form_free(&form);
        free(copy);
        buffer_free(&body);
    }
}

static void test_malformed(void **state)
{
#define END CRLF CRLF "content" CRLF "--b--" CRLF
    static const struct slice rows[] = {
        BYTES(""),
        BYTES("b"),
        BYTES("--"),
        BYTES("--b"),
        BYTES("--b" CRLF),
        BYTES("--c" CRLF DISPOSITION CRLF "content" CRLF "--c--" CRLF),
        BYTES("no boundary at all"),
        BYTES("--b\n" DISPOSITION CRLF "content" CRLF "--b--" CRLF),
        BYTES("--b-" CRLF DISPOSITION CRLF "content" CRLF "--b--" CRLF),
        BYTES("--bx" CRLF DISPOSITION CRLF "content" CRLF "--b--" CRLF),
        BYTES("--b" CRLF DISPOSITION CRLF "content" CRLF "--bx"),
        BYTES("--b" CRLF DISPOSITION CRLF "content" CRLF "--b x--"),
        BYTES("--b" CRLF DISPOSITION CRLF "content--b--" CRLF),
        BYTES("--b" CRLF DISPOSITION "content" CRLF "--b--" CRLF),
        BYTES("--b" CRLF CRLF "content" CRLF "--b--" CRLF),
        BYTES("--b" CRLF "Content-Type: text/plain" END),
        BYTES("--b" CRLF "Content-Disposition form-data" END),
        BYTES("--b" CRLF DISPOSITION "junk" END),
        BYTES("--b" CRLF "junk" CRLF DISPOSITION CRLF "content" CRLF "--b--" CRLF),
        BYTES("--b" CRLF "Content-Disposition: attachment; filename=\"x\"" END),
        BYTES("--b" CRLF "Content-Disposition: " END),
        BYTES("--b" CRLF "Content-Disposition: form-data; filename" END),
        BYTES("--b" CRLF "Content-Disposition: form-data; filename=\"x" END),
        BYTES("--b" CRLF "Content-Disposition: form-data; filename=\"x\\\"" END),
        BYTES("--b" CRLF "Content-Disposition: form-data; filename=\"x\" y" END),
        /* A parameter without a value must not swallow the one behind it, or a file would be lost in silence.
         */
        BYTES("--b" CRLF "Content-Disposition: form-data; y; filename=\"x\"" END),
        BYTES("--b" CRLF "Content-Disposition: form-data; name=\"n\" y; filename=\"x\"" END),
        /* A media type comes back as a field of an answer, and nothing between here and the client lets these pass. */
        BYTES("--b" CRLF DISPOSITION "Content-Type: text/\rplain" END),
        BYTES("--b" CRLF DISPOSITION "Content-Type: text/plain\0" END),
        BYTES("--b" CRLF DISPOSITION "Content-Type: \x7f" END),
        /* One good part does not save the next. */
        BYTES("--b" CRLF DISPOSITION CRLF "content" CRLF "--b" CRLF "junk" END),
        BYTES("--b" CRLF DISPOSITION CRLF "content" CRLF "--b" CRLF DISPOSITION CRLF "no end"),
    };
#undef END
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++) {
        struct form form;
        char *copy;
        const char *problem = parse(rows[i], "b", &form, &copy);

        assert_row(problem != NULL, rows[i].base);
        assert_row(problem[0] != '\0' && problem[strlen(problem) - 1] == '.', rows[i].base);
        assert_row(form.count == 0 && form.files == NULL, rows[i].base);
        free(copy);
    }
}

/* ---- the limits ---- */

static void append_files(struct buffer *body, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        buffer_printf(
            body, "--b" CRLF "Content-Disposition: form-data; filename=\"%zu\"" CRLF CRLF "content %zu" CRLF,
            i, i);
}

static void test_files_max(void **state)
{
    struct buffer body = {NULL, 0, 0};
    struct form form;
    size_t i;

    (void)state;
    append_files(&body, FORM_FILES_MAX);
    /* Fields that are not files do not count. */
    buffer_append_text(&body, "--b" CRLF "Content-Disposition: form-data; name=x" CRLF CRLF "y" CRLF);
    buffer_append_text(&body, "--b--" CRLF);
    assert_null(form_parse(buffer_slice(&body), slice_of("b"), NULL, NULL, &form));
    assert_int_equal(form.count, FORM_FILES_MAX);
    for (i = 0; i < FORM_FILES_MAX; i++) {
        char name[32], content[32];
        snprintf(name, sizeof(name), "%zu", i);
        snprintf(content, sizeof(content), "content %zu", i);
        assert_true(slice_is(form.files[i].name, name));
        assert_true(slice_is(form.files[i].content, content));
    }
    form_free(&form);

    body.len = 0;
    append_files(&body, FORM_FILES_MAX + 1);
    buffer_append_text(&body, "--b--" CRLF);
    assert_non_null(form_parse(buffer_slice(&body), slice_of("b"), NULL, NULL, &form));
    assert_int_equal(form.count, 0);
    buffer_free(&body);
}

static const char *parse_with_head_of(size_t len)
{
    struct buffer body = {NULL, 0, 0};
    size_t begin;
    struct form form;
    const char *problem;

    buffer_append_text(&body, "--b" CRLF);
    begin = body.len;
    buffer_append_text(&body, DISPOSITION "X-Long: ");
    while (body.len - begin < len)
        buffer_append_text(&body, "x");
    buffer_append_text(&body, CRLF CRLF "content" CRLF "--b--" CRLF);
    problem = form_parse(buffer_slice(&body), slice_of("b"), NULL, NULL, &form);
    if (problem == NULL)
        assert_slice_equals(form.files[0].content, SLICE_LITERAL("content"));
    form_free(&form);
    buffer_free(&body);
    return problem;
}

static void test_part_head_max(void **state)
{
    (void)state;
    assert_null(parse_with_head_of(FORM_PART_HEAD_MAX));
    assert_non_null(parse_with_head_of(FORM_PART_HEAD_MAX + 1));
}

static void count_searched(void *context, struct slice part)
{
    assert_true(part.len <= 4 << 20);
    *(size_t *)context += part.len;
}

/* The body is searched in steps of 4 MiB: a delimiter may begin in one of them and end in the next. */
static void test_steps(void **state)
{
    static const char head[] = "--b" CRLF DISPOSITION CRLF, between[] = CRLF "--b" CRLF DISPOSITION CRLF;
    size_t size, searched;

    (void)state;
    for (size = (4 << 20) - 8; size <= (4 << 20) + 8; size++) {
        struct buffer body = {NULL, 0, 0};
        struct form form;
        char *bytes = test_malloc(size);

        memset(bytes, '\r', size);
        buffer_append_text(&body, head);
        buffer_append(&body, bytes, size);
        buffer_append_text(&body, between);
        buffer_append(&body, bytes, size);
        buffer_append_text(&body, CRLF "--b--" CRLF);
        searched = 0;
        assert_null(form_parse(buffer_slice(&body), slice_of("b"), count_searched, &searched, &form));
        assert_int_equal(form.count, 2);
        assert_int_equal(form.files[0].content.len, size);
        assert_int_equal(form.files[1].content.len, size);
        assert_true(searched >= 2 * size && searched <= body.len);
        form_free(&form);
        buffer_free(&body);
        test_free(bytes);
    }
}

static void test_longest_boundary(void **state)
{
    char boundary[FORM_BOUNDARY_MAX + 1];
    struct buffer body = {NULL, 0, 0};
    struct form form;

    (void)state;
    memset(boundary, '-', sizeof(boundary) - 1);
    boundary[sizeof(boundary) - 1] = '\0';
    buffer_printf(&body, "--%s" CRLF DISPOSITION CRLF "content" CRLF "--%s--" CRLF, boundary, boundary);
    assert_null(form_parse(buffer_slice(&body), slice_of(boundary), NULL, NULL, &form));
    assert_int_equal(form.count, 1);
    assert_slice_equals(form.files[0].content, SLICE_LITERAL("content"));
    form_free(&form);
    buffer_free(&body);
}

/* ---- random forms ---- */

enum { PARTS_MAX = 6 };

struct random_part {
    bool is_file;
    struct buffer name, content;
};

struct random_form {
    char boundary[FORM_BOUNDARY_MAX + 1];
    struct buffer body;
    size_t closed; /* up to here it is complete; what follows is epilogue */
    size_t count;
    struct random_part parts[PARTS_MAX];
};

/* Random bytes, mixed with the boundary, line breaks and dashes, in the hope that they meet. */
static void random_content(struct random *random, const char *boundary, struct buffer *to)
{
    struct buffer delimiter = {NULL, 0, 0};
    size_t pieces = random_below(random, 8);

    buffer_printf(&delimiter, CRLF "--%s", boundary);
    while (pieces-- != 0) {
        switch (random_below(random, 6)) {
        case 0:
            random_append_bytes(random, random_below(random, 20), to);
            break;
        case 1:
            random_append_of(random, SLICE_LITERAL("\r\n-"), random_below(random, 6), to);
            break;
        case 2: /* not all of the delimiter */
            buffer_append(to, delimiter.base, random_below(random, delimiter.len));
            break;
        case 3:
            buffer_append(to, delimiter.base + 1, delimiter.len - 1);
            break;
        case 4:
            buffer_append_text(to, boundary);
            break;
        case 5:
            buffer_append_text(to, CRLF CRLF);
            break;
        }
    }
    buffer_free(&delimiter);
}

/* A client chooses a boundary that does not appear in the content; the start of a content counts as the start
 * of a line. */
static bool holds_delimiter(const struct buffer *content, const char *boundary)
{
    struct buffer text = {NULL, 0, 0}, delimiter = {NULL, 0, 0};
    bool found = false;
    size_t i;

    buffer_append_text(&text, CRLF);
    buffer_append_slice(&text, buffer_slice(content));
    buffer_append_text(&text, CRLF "--");
    buffer_printf(&delimiter, CRLF "--%s", boundary);
    for (i = 0; i + delimiter.len <= text.len && !found; i++)
        found = memcmp(text.base + i, delimiter.base, delimiter.len) == 0;
    buffer_free(&text);
    buffer_free(&delimiter);
    return found;
}

/* A filename in quotes, written by one of the two ways of clients, chosen for the whole name. */
static void append_filename(struct random *random, const struct buffer *name, struct buffer *to)
{
    bool browser = memchr(name->base, '\\', name->len) == NULL && random_below(random, 2) != 0;
    size_t i;

    for (i = 0; i < name->len; i++) {
        char byte = name->base[i];
        if (byte == '\r')
            buffer_append_text(to, "%0D");
        else if (byte == '\n')
            buffer_append_text(to, "%0A");
        else if (byte == '"' && browser)
            buffer_append_text(to, "%22");
        else if (byte == '"' || byte == '\\')
            buffer_printf(to, "\\%c", byte);
        else
            buffer_append(to, &byte, 1);
    }
}

static void append_part(struct random *random, struct random_form *form, struct random_part *part)
{
    struct buffer *body = &form->body;

    part->is_file = random_below(random, 4) != 0;
    /* Without the percent sign: a name with a real %22 in it cannot be told from one with a quote. */
    if (part->is_file)
        random_append_of(random, SLICE_LITERAL("ab/. ;=:\"\"\\\\\r\n\xc3\xa9\xff"),
                         1 + random_below(random, 20), &part->name);
    do {
        part->content.len = 0;
        random_content(random, form->boundary, &part->content);
    } while (holds_delimiter(&part->content, form->boundary));

    if (random_below(random, 2) != 0)
        buffer_append_text(body, "Content-Type: text/x-test" CRLF);
    buffer_append_text(body, "Content-Disposition: form-data; name=\"f\"");
    if (part->is_file) {
        buffer_append_text(body, "; filename=\"");
        append_filename(random, &part->name, body);
        buffer_append_text(body, "\"");
    }
    buffer_append_text(body, CRLF);
    if (random_below(random, 4) == 0)
        buffer_append_text(body, "X-Other: \"--" CRLF);
    buffer_append_text(body, CRLF);
    buffer_append_slice(body, buffer_slice(&part->content));
}

static void random_form_make(struct random *random, struct random_form *form)
{
    struct buffer boundary = {NULL, 0, 0};
    size_t i;

    memset(form, 0, sizeof(*form));
    random_append_of(random, SLICE_LITERAL("--ab'()+_,./:=?"), 1 + random_below(random, 10), &boundary);
    /* So that no header line or preamble can hold it. */
    buffer_append_text(&boundary, "Z");
    snprintf(form->boundary, sizeof(form->boundary), "%s", boundary.base);
    buffer_free(&boundary);

    if (random_below(random, 4) == 0)
        buffer_append_text(&form->body, "A preamble." CRLF);
    form->count = random_below(random, PARTS_MAX + 1);
    for (i = 0; i < form->count; i++) {
        buffer_printf(&form->body, "%s--%s%s" CRLF, i != 0 ? CRLF : "", form->boundary,
                      random_below(random, 4) == 0 ? " \t" : "");
        append_part(random, form, &form->parts[i]);
    }
    buffer_printf(&form->body, "%s--%s--", form->count != 0 ? CRLF : "", form->boundary);
    form->closed = form->body.len;
    random_append_bytes(random, random_below(random, 4), &form->body);
}

static void random_form_free(struct random_form *form)
{
    size_t i;

    for (i = 0; i < form->count; i++) {
        buffer_free(&form->parts[i].name);
        buffer_free(&form->parts[i].content);
    }
    buffer_free(&form->body);
}

static void check_parsed(const struct random_form *made, const struct form *form, struct slice body,
                         uint64_t seed)
{
    size_t i, files = 0;

    for (i = 0; i < made->count; i++) {
        const struct random_part *part = &made->parts[i];
        if (!part->is_file)
            continue;
        assert_seeded(files < form->count, seed);
        assert_seeded(slice_equals(form->files[files].name, buffer_slice(&part->name)), seed);
        assert_seeded(slice_equals(form->files[files].content, buffer_slice(&part->content)), seed);
        assert_seeded(slice_is_within(form->files[files].content, body), seed);
        assert_seeded(form->files[files].media_type.base == NULL ||
                          slice_is(form->files[files].media_type, "text/x-test"),
                      seed);
        files++;
    }
    assert_seeded(form->count == files, seed);
}

static void test_round_trip(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 5000; seed++) {
        struct random random = random_seeded(seed);
        struct random_form made;
        struct form form;
        const char *problem;
        char *copy;

        random_form_make(&random, &made);
        problem = parse(buffer_slice(&made.body), made.boundary, &form, &copy);
        if (problem != NULL)
            fail_msg("seed %" PRIu64 ": %s", seed, problem);
        check_parsed(&made, &form, (struct slice){copy, made.body.len}, seed);
        form_free(&form);
        free(copy);
        random_form_free(&made);
    }
}

static void test_every_truncation(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 100; seed++) {
        struct random random = random_seeded(seed);
        struct random_form made;
        size_t len;

        random_form_make(&random, &made);
        for (len = 0; len <= made.body.len; len++) {
            struct form form;
            char *copy;
            const char *problem = parse((struct slice){made.body.base, len}, made.boundary, &form, &copy);

            assert_seeded((problem == NULL) == (len >= made.closed), seed);
            if (problem == NULL)
                check_parsed(&made, &form, (struct slice){copy, len}, seed);
            else
                assert_seeded(form.count == 0 && form.files == NULL && form.names == NULL, seed);
            form_free(&form);
            free(copy);
        }
        random_form_free(&made);
    }
}

/* Bytes changed anywhere: an error or another form, but slices of the body all the same. */
static void test_flipped_bytes(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 10000; seed++) {
        struct random random = random_seeded(seed);
        size_t flips = 1 + random_below(&random, 4), i;
        struct random_form made;
        struct form form;
        struct slice body;
        char *copy;

        random_form_make(&random, &made);
        while (flips-- != 0)
            made.body.base[random_below(&random, made.body.len)] =
                "\r\n-\";=:\\ \0"[random_below(&random, 11)];
        body.len = made.body.len;
        if (parse(buffer_slice(&made.body), made.boundary, &form, &copy) != NULL)
            assert_seeded(form.count == 0, seed);
        body.base = copy;
        for (i = 0; i < form.count; i++) {
            assert_seeded(slice_is_within(form.files[i].content, body), seed);
            assert_seeded(slice_is_within(form.files[i].media_type, body), seed);
            assert_seeded(form.files[i].name.len != 0, seed);
        }
        form_free(&form);
        free(copy);
        random_form_free(&made);
    }
}

static void test_boundary_of_any_bytes(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 10000; seed++) {
        struct random random = random_seeded(seed);
        struct buffer type = {NULL, 0, 0};
        struct slice boundary;
        const char *problem;
        char *copy;

        buffer_append_text(&type, "multipart/form-data;");
        if (random_below(&random, 2) != 0)
            buffer_append_text(&type, "boundary=");
        random_append_of(&random, SLICE_LITERAL("\"\"\\\\;;== \tab\0"), random_below(&random, 90), &type);
        copy = copy_exactly(buffer_slice(&type));
        boundary = form_boundary((struct slice){copy, type.len}, &problem);
        assert_seeded((boundary.base == NULL) == (problem != NULL), seed);
        if (boundary.base != NULL) {
            assert_seeded(slice_is_within(boundary, (struct slice){copy, type.len}), seed);
            assert_seeded(boundary.len >= 1 && boundary.len <= FORM_BOUNDARY_MAX, seed);
        }
        free(copy);
        buffer_free(&type);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boundary),
        cmocka_unit_test(test_one_file),
        cmocka_unit_test(test_several_parts),
        cmocka_unit_test(test_no_parts),
        cmocka_unit_test(test_empty_content_without_its_line_break),
        cmocka_unit_test(test_content_like_a_boundary),
        cmocka_unit_test(test_filename),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_files_max),
        cmocka_unit_test(test_part_head_max),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_longest_boundary),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_boundary_of_any_bytes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
