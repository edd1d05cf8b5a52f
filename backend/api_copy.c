/* PUT /objects/NEW with X-Copy-From, and POST /objects/OLD?rename=NEW: a file from a file, without its content passing
 * through the client. */
#include "api.h"

#include <stdlib.h>

#include "name.h"
#include "query.h"
#include "xalloc.h"

#define PATH_PREFIX "/objects/"

struct copying {
    struct store_rename rename; /* first; for a copy only its copy is used */
    struct api *api;
    struct http_request *request;
    struct manifest description;
    struct buffer source, name;
};

static void copying_free(struct copying *copying)
{
    store_copy_free(&copying->rename.copy);
    buffer_free(&copying->source);
    buffer_free(&copying->name);
    free(copying);
}

static void refuse(struct copying *copying, enum problem kind, const char *problem)
{
    problem_respond(copying->request, kind, problem);
    copying_free(copying);
}

/* ---- the answer ---- */

static void respond_stored(struct copying *copying, bool created, const char *etag)
{
    struct http_request *request = copying->request;
    struct slice name = buffer_slice(&copying->name);
    const struct manifest *manifest = &copying->rename.copy.manifest;
    bool as_text = http_request_wants_text(request);
    struct buffer body = {NULL, 0, 0}, location = {NULL, 0, 0};

    if (as_text) {
        name_append_line(name, &body);
    } else {
        yajl_gen gen = api_stored_begin();

        api_stored_add(copying->api, gen, name, manifest->size, manifest->modified_ns, manifest->expires_ns,
                       etag, manifest->media_type, created);
        api_stored_end(gen);
        json_finish(gen, &body);
    }
    api_append_path(name, &location);
    http_add_field(request, "Location", buffer_slice(&location));
    http_add_field_text(request, "ETag", etag);
    api_add_expiry_field(request, manifest->expires_ns);
    http_add_field_text(request, "Content-Type", as_text ? "text/plain; charset=utf-8" : "application/json");
    http_respond(request, created ? 201 : 200, buffer_slice(&body));
    buffer_free(&body);
    buffer_free(&location);
    copying_free(copying);
}

/* NULL when the problem's title says enough. */
static const char *detail_of(enum store_result result, bool about_source)
{
    if (!about_source)
        return NULL;
    switch (result) {
    case STORE_NOT_FOUND:
        return "It is the source, which was to be copied, that is not there.";
    case STORE_PRECONDITION_FAILED:
        return "It does not hold for the file that was to be renamed.";
    case STORE_TOO_LARGE:
        return "The source is larger than what this server was told to take (--max-file-size).";
    case STORE_DAMAGED:
        return "It is the source, which was to be copied.";
    case STORE_CHANGED:
        return "The source was changed while it was copied.";
    case STORE_CONTENDED:
        return "The old name stands for another version each time that a copy is complete.";
    default:
        return NULL;
    }
}

static void on_copied(struct store_copy *copy)
{
    struct copying *copying = (struct copying *)copy;

    if (copy->result == STORE_OK)
        respond_stored(copying, copy->created, copy->etag);
    else
        refuse(copying, problem_of_store_result(copy->result), detail_of(copy->result, copy->about_source));
}

static void on_renamed(struct store_rename *rename)
{
    struct copying *copying = (struct copying *)rename;
    const char *detail = detail_of(rename->result, rename->about_old);
    struct buffer text = {NULL, 0, 0};

    if (rename->result == STORE_OK) {
        respond_stored(copying, rename->created, rename->etag);
        return;
    }
    if (detail != NULL)
        buffer_append_text(&text, detail);
    if (rename->copied)
        buffer_printf(&text, "%sThe new name holds a copy, and the old name has not been removed.",
                      text.len != 0 ? " " : "");
    refuse(copying, problem_of_store_result(rename->result), text.base);
    buffer_free(&text);
}

/* ---- the request ---- */

static struct copying *copying_new(struct api *api, struct http_request *request)
{
    struct copying *copying = xcalloc(1, sizeof(*copying));

    copying->api = api;
    copying->request = request;
    return copying;
}

/* Reads what a copy and a renaming have in common, when both names are known. False when the request has been answered, and
 * *copying freed. */
static bool prepare(struct copying *copying, struct conditions *conditions)
{
    struct slice source = buffer_slice(&copying->source), name = buffer_slice(&copying->name);
    struct store_copy *copy = &copying->rename.copy;

    if (slice_equals(source, name)) {
        refuse(copying, PROBLEM_BAD_REQUEST, "The old name and the new one are the same.");
        return false;
    }
    if (http_request_body(copying->request).len != 0) {
        refuse(copying, PROBLEM_BAD_REQUEST,
               "A request that copies or renames a file must not have a body of its own.");
        return false;
    }
    if (!api_take_conditions(copying->request, conditions) ||
        !api_take_description(copying->request, &copying->description)) {
        copying_free(copying);
        return false;
    }
    copy->store = copying->api->store;
    copy->home = http_request_loop(copying->request);
    copy->source_name = source;
    copy->name = name;
    copy->size_max = copying->api->file_size_max;
    copy->description = &copying->description;
    copy->wish = api_wish(copying->request);
    copy->media_type_otherwise = api_media_type(copying->api, name, SLICE_ABSENT);
    return true;
}

bool api_is_copy(const struct http_request *request)
{
    return http_request_field(request, "x-copy-from").base != NULL;
}

/* NULL, or a sentence about what is wrong. */
static const char *take_source(struct slice path, struct buffer *name)
{
    if (!slice_starts_with(path, PATH_PREFIX) || memchr(path.base, '?', path.len) != NULL)
        return "X-Copy-From has to be the path of a file, /objects/NAME, percent-encoded.";
    path.base += strlen(PATH_PREFIX);
    path.len -= strlen(PATH_PREFIX);
    if (!percent_decode(path, PERCENT_PLUS_IS_PLUS, name))
        return "X-Copy-From has a % that is not followed by two hexadecimal digits.";
    return name_problem(buffer_slice(name));
}

void api_copy(struct api *api, struct http_request *request, struct slice name)
{
    struct copying *copying = copying_new(api, request);
    const char *problem =
        take_source(slice_trim(http_request_field(request, "x-copy-from")), &copying->source);

    if (problem != NULL) {
        refuse(copying, PROBLEM_BAD_NAME, problem);
        return;
    }
    buffer_append_slice(&copying->name, name);
    if (!prepare(copying, &copying->rename.copy.conditions))
        return;
    copying->rename.copy.done = on_copied;
    store_copy_begin(&copying->rename.copy);
}

/* ?rename=NEW and nothing else. */
static bool take_new_name(struct slice text, struct buffer *name)
{
    struct query query;
    bool seen = false;
    int more;

    query_begin(&query, text);
    while ((more = query_next(&query)) == 1) {
        if (!slice_is(buffer_slice(&query.name), "rename") || seen)
            break;
        seen = true;
        buffer_append_slice(name, buffer_slice(&query.value));
    }
    query_end(&query);
    return seen && more == 0;
}

void api_rename(struct api *api, struct http_request *request, struct slice name)
{
    struct copying *copying = copying_new(api, request);
    struct store_rename *rename = &copying->rename;
    struct conditions *conditions = &rename->copy.source_conditions;
    const char *problem;

    if (!take_new_name(http_request_query(request), &copying->name)) {
        refuse(copying, PROBLEM_BAD_QUERY,
               "A POST to a file renames it: the query has to be ?rename=NEW, percent-encoded, once.");
        return;
    }
    problem = name_problem(buffer_slice(&copying->name));
    if (problem != NULL) {
        refuse(copying, PROBLEM_BAD_NAME, problem);
        return;
    }
    buffer_append_slice(&copying->source, name);
    if (!prepare(copying, conditions))
        return;
    rename->only_new = conditions->if_none_match.base != NULL;
    if (rename->only_new && !slice_is(slice_trim(conditions->if_none_match), "*")) {
        refuse(copying, PROBLEM_BAD_REQUEST,
               "If-None-Match is about the new name, and has to be *: it must not be there.");
        return;
    }
    conditions->if_none_match = SLICE_ABSENT;
    rename->copy.keep_expiry = true;
    rename->done = on_renamed;
    store_rename_begin(rename);
}
