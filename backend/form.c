#define _GNU_SOURCE
#include "form.h"

#include <stdlib.h>

#include "xalloc.h"

#define SEARCH_STEP    ((size_t)4 * 1024 * 1024)
#define PART_HEAD_ROOM (FORM_PART_HEAD_MAX + sizeof("\r\n\r\n") - 1)

/*
 * One `; name=value` off the front of *rest (RFC 9110, 5.6.6). The value keeps its quotes, since a filename
 * and a boundary undo them differently. False at the end and at a syntax error (*wrong).
 */
static bool next_parameter(struct slice *rest, struct slice *name, struct slice *value, bool *wrong)
{
    size_t i = 0;

    *rest = slice_trim(*rest);
    while (rest->len != 0 && (rest->base[0] == ';' || rest->base[0] == ' ' || rest->base[0] == '\t')) {
        rest->base++;
        rest->len--;
    }
    if (rest->len == 0)
        return false;
    while (i < rest->len && rest->base[i] != '=' && rest->base[i] != ';')
        i++;
    if (i == rest->len || rest->base[i] == ';') {
        *wrong = true;
        return false;
    }
    i = 0;
    *name = slice_trim(slice_cut(rest, '='));
    *rest = slice_trim(*rest);

    if (rest->len != 0 && rest->base[0] == '"') {
        for (i = 1; i < rest->len && rest->base[i] != '"'; i++)
            if (rest->base[i] == '\\' && i + 1 < rest->len &&
                (rest->base[i + 1] == '"' || rest->base[i + 1] == '\\'))
                i++;
        if (i >= rest->len) {
            *wrong = true;
            return false;
        }
        i++;
    } else {
        while (i < rest->len && rest->base[i] != ';')
            i++;
    }
    *value = slice_trim((struct slice){rest->base, i});
    rest->base += i;
    rest->len -= i;
    *rest = slice_trim(*rest);
    *wrong = rest->len != 0 && rest->base[0] != ';';
    return !*wrong;
}

static struct slice unquote(struct slice value)
{
    if (value.len >= 2 && value.base[0] == '"')
        return (struct slice){value.base + 1, value.len - 2};
    return value;
}

struct slice form_boundary(struct slice content_type, const char **problem)
{
    struct slice rest = content_type, name, value;
    bool wrong = false;

    *problem = NULL;
    if (!slice_is_ignoring_case(slice_trim(slice_cut(&rest, ';')), "multipart/form-data"))
        return SLICE_ABSENT;

    while (next_parameter(&rest, &name, &value, &wrong)) {
        if (!slice_is_ignoring_case(name, "boundary"))
            continue;
        value = unquote(value);
        if (value.len == 0 || value.len > FORM_BOUNDARY_MAX)
            break;
        return value;
    }
    *problem = "The Content-Type is multipart/form-data without a boundary of 1 to 70 characters.";
    return SLICE_ABSENT;
}

static void decode_filename(struct slice raw, struct buffer *to)
{
    bool quoted = raw.len >= 2 && raw.base[0] == '"';
    size_t i;

    raw = unquote(raw);
    for (i = 0; i < raw.len; i++) {
        const char *at = raw.base + i;
        size_t left = raw.len - i;
        if (quoted && left >= 2 && at[0] == '\\' && (at[1] == '"' || at[1] == '\\')) {
            buffer_append(to, at + 1, 1);
            i++;
        } else if (left >= 3 && memcmp(at, "%22", 3) == 0) {
            buffer_append(to, "\"", 1);
            i += 2;
        } else if (left >= 3 && strncasecmp(at, "%0d", 3) == 0) {
            buffer_append(to, "\r", 1);
            i += 2;
        } else if (left >= 3 && strncasecmp(at, "%0a", 3) == 0) {
            buffer_append(to, "\n", 1);
            i += 2;
        } else {
            buffer_append(to, at, 1);
        }
    }
}

/* What no field of an answer can carry, and the media type becomes one. */
static bool holds_control_character(struct slice text)
{
    size_t i;

    for (i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.base[i];
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
            return true;
    }
    return false;
}

struct part_head {
    bool is_file;
    struct slice filename;
    struct slice media_type;
};

static const char *parse_disposition(struct slice value, struct part_head *head)
{
    struct slice rest = value, name, parameter;
    bool wrong = false;

    if (!slice_is_ignoring_case(slice_trim(slice_cut(&rest, ';')), "form-data"))
        return "A part of the form has a Content-Disposition other than form-data.";
    while (next_parameter(&rest, &name, &parameter, &wrong)) {
        if (slice_is_ignoring_case(name, "filename")) {
            head->is_file = true;
            head->filename = parameter;
        }
    }
    return wrong ? "A part of the form has a Content-Disposition with a malformed parameter." : NULL;
}

static const char *parse_part_head(struct slice text, struct part_head *head)
{
    bool disposition_seen = false;

    *head = (struct part_head){false, SLICE_ABSENT, SLICE_ABSENT};
    while (text.len != 0) {
        struct slice line = slice_cut(&text, '\n'), name, value;
        const char *problem;

        if (line.len != 0 && line.base[line.len - 1] == '\r')
            line.len--;
        value = line;
        if (line.len == 0 || memchr(line.base, ':', line.len) == NULL)
            return "A part of the form has a malformed header line.";
        name = slice_trim(slice_cut(&value, ':'));
        value = slice_trim(value);

        if (slice_is_ignoring_case(name, "content-disposition")) {
            disposition_seen = true;
            problem = parse_disposition(value, head);
            if (problem != NULL)
                return problem;
        } else if (slice_is_ignoring_case(name, "content-type")) {
            if (holds_control_character(value))
                return "A part of the form has a Content-Type with a control character.";
            head->media_type = value;
        }
    }
    return disposition_seen ? NULL : "A part of the form has no Content-Disposition.";
}

static void add_file(struct form *form, const struct part_head *head, struct slice content)
{
    struct buffer name = {NULL, 0, 0};
    struct form_file *file;

    decode_filename(head->filename, &name);
    form->files = xrealloc(form->files, (form->count + 1) * sizeof(*form->files));
    form->names = xrealloc(form->names, (form->count + 1) * sizeof(*form->names));
    file = &form->files[form->count];
    file->name = buffer_slice(&name);
    file->media_type = head->media_type;
    file->content = content;
    form->names[form->count++] = name.base;
}

static struct slice find(struct slice in, struct slice what)
{
    const char *at = memmem(in.base, in.len, what.base, what.len);
    if (at == NULL)
        return SLICE_ABSENT;
    return (struct slice){at, in.len - (size_t)(at - in.base)};
}

/* A body, and who is told how far it has been searched. */
struct search {
    struct slice delimiter;
    form_searched *searched;
    void *context;
};

static struct slice find_delimiter(struct slice in, const struct search *search)
{
    struct slice found = SLICE_ABSENT;

    while (found.base == NULL && in.len >= search->delimiter.len) {
        size_t step = in.len < SEARCH_STEP ? in.len : SEARCH_STEP;
        /* Also what begins in this step and ends in the next one. */
        size_t window = in.len - step < search->delimiter.len - 1 ? in.len : step + search->delimiter.len - 1;

        found = find((struct slice){in.base, window}, search->delimiter);
        if (found.base != NULL) {
            found.len = in.len - (size_t)(found.base - in.base);
            step = (size_t)(found.base - in.base);
        }
        if (search->searched != NULL)
            search->searched(search->context, (struct slice){in.base, step});
        in.base += step;
        in.len -= step;
    }
    return found;
}

static void delimiter_skip(struct slice *rest, struct slice delimiter)
{
    rest->base += delimiter.len;
    rest->len -= delimiter.len;
}

/* The end of a delimiter line: white space, then CRLF (0: another part follows) or "--" (1: the form ends).
 */
static int after_delimiter(struct slice *rest)
{
    if (slice_starts_with(*rest, "--"))
        return 1;
    while (rest->len != 0 && (rest->base[0] == ' ' || rest->base[0] == '\t')) {
        rest->base++;
        rest->len--;
    }
    if (!slice_starts_with(*rest, "\r\n"))
        return -1;
    rest->base += 2;
    rest->len -= 2;
    return 0;
}

/* `delimiter` begins with the line break that belongs to it; `first`, which may stand at the very start of
 * the body, is the same without that. */
static const char *parse_parts(struct slice body, const struct search *search, struct slice first,
                               struct form *form)
{
    struct slice rest = body, delimiter = search->delimiter;

    if (slice_begins_with(body, first)) {
        delimiter_skip(&rest, first);
    } else {
        rest = find_delimiter(body, search);
        if (rest.base == NULL)
            return "The body is not a form: its boundary does not appear.";
        delimiter_skip(&rest, delimiter);
    }

    for (;;) {
        struct part_head head;
        struct slice head_end, content, next;
        const char *problem;

        switch (after_delimiter(&rest)) {
        case 1:
            return NULL;
        case -1:
            return "The form is malformed: a boundary is followed by something else than a line break or --.";
        }

        head_end = find((struct slice){rest.base, rest.len < PART_HEAD_ROOM ? rest.len : PART_HEAD_ROOM},
                        SLICE_LITERAL("\r\n\r\n"));
        if (head_end.base == NULL)
            return "The form is malformed: the header of a part does not end.";
        problem = parse_part_head((struct slice){rest.base, (size_t)(head_end.base - rest.base)}, &head);
        if (problem != NULL)
            return problem;

        /* The content may be empty, and then its closing delimiter shares the line break that ends the
         * header. */
        next = find_delimiter(
            (struct slice){head_end.base + 2, rest.len - (size_t)(head_end.base + 2 - rest.base)}, search);
        if (next.base == NULL)
            return "The form is cut short: its closing boundary is missing.";
        content.base = head_end.base + 4;
        content.len = next.base > content.base ? (size_t)(next.base - content.base) : 0;
        rest = next;
        delimiter_skip(&rest, delimiter);

        /* A file field that the person left empty is sent with an empty filename: not a file. */
        if (!head.is_file || unquote(head.filename).len == 0)
            continue;
        if (form->count == FORM_FILES_MAX)
            return "The form holds more than 1000 files.";
        add_file(form, &head, content);
    }
}

const char *form_parse(struct slice body, struct slice boundary, form_searched *searched, void *context,
                       struct form *form)
{
    struct buffer delimiter = {NULL, 0, 0};
    struct search search = {.searched = searched, .context = context};
    const char *problem;

    *form = (struct form){0, NULL, NULL};
    buffer_append_text(&delimiter, "\r\n--");
    buffer_append_slice(&delimiter, boundary);
    search.delimiter = buffer_slice(&delimiter);
    problem = parse_parts(body, &search, (struct slice){delimiter.base + 2, delimiter.len - 2}, form);
    buffer_free(&delimiter);

    if (problem != NULL)
        form_free(form);
    return problem;
}

void form_free(struct form *form)
{
    size_t i;

    for (i = 0; i < form->count; i++)
        free(form->names[i]);
    free(form->names);
    free(form->files);
    *form = (struct form){0, NULL, NULL};
}
