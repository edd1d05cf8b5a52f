#include "api.h"

#include <stdlib.h>

#include "http_date.h"
#include "name.h"
#include "xalloc.h"

static const struct {
    int bit;
    const char *name;
} methods[] = {
    {METHOD_GET, "GET"},   {METHOD_HEAD, "HEAD"},     {METHOD_PUT, "PUT"},
    {METHOD_POST, "POST"}, {METHOD_DELETE, "DELETE"},
};

#define METHOD_COUNT (sizeof(methods) / sizeof(methods[0]))

int api_check_method(struct http_request *request, int allowed)
{
    struct slice method = http_request_method(request);
    struct buffer allow = {NULL, 0, 0};
    size_t i;

    for (i = 0; i < METHOD_COUNT; i++)
        if ((methods[i].bit & allowed) != 0 && slice_is(method, methods[i].name))
            return methods[i].bit;

    for (i = 0; i < METHOD_COUNT; i++)
        if ((methods[i].bit & allowed) != 0)
            buffer_printf(&allow, "%s%s", allow.len != 0 ? ", " : "", methods[i].name);
    http_add_field(request, "Allow", buffer_slice(&allow));
    problem_respond(request, PROBLEM_METHOD, NULL);
    buffer_free(&allow);
    return 0;
}

static void handle_file(struct api *api, struct http_request *request, struct slice name)
{
    switch (api_check_method(request, METHOD_GET | METHOD_HEAD | METHOD_PUT | METHOD_POST | METHOD_DELETE)) {
    case METHOD_GET:
    case METHOD_HEAD:
        api_get(api, request, name);
        break;
    case METHOD_PUT:
        if (api_is_copy(request))
            api_copy(api, request, name);
        else
            api_put(api, request, name);
        break;
    case METHOD_POST:
        api_rename(api, request, name);
        break;
    case METHOD_DELETE:
        api_delete(api, request, name);
        break;
    }
}

static void handle_encoded_name(struct api *api, struct http_request *request, struct slice encoded)
{
    struct buffer name = {NULL, 0, 0};
    const char *problem;

    if (!percent_decode(encoded, PERCENT_PLUS_IS_PLUS, &name))
        problem = "The name has a % that is not followed by two hexadecimal digits.";
    else
        problem = name_problem(buffer_slice(&name));

    if (problem != NULL)
        problem_respond(request, PROBLEM_BAD_NAME, problem);
    else
        handle_file(api, request, buffer_slice(&name));
    buffer_free(&name);
}

static void handle_collection(struct api *api, struct http_request *request)
{
    struct slice query = http_request_query(request);

    switch (api_check_method(request, METHOD_GET | METHOD_HEAD | METHOD_POST)) {
    case METHOD_GET:
    case METHOD_HEAD:
        api_list(api, request);
        break;
    case METHOD_POST:
        if (slice_is(query, "delete") || slice_is(query, "delete="))
            api_bulk_delete(api, request);
        else
            api_post(api, request);
        break;
    }
}

void api_handle(struct http_request *request, void *context)
{
    static const struct {
        const char *path;
        void (*handler)(struct api *api, struct http_request *request);
    } readings[] = {{"/status", api_status}, {"/metrics", api_metrics}, {"/healthz", api_health}};
    struct api *api = context;
    struct slice path = http_request_path(request);
    const char *problem = http_request_framing_problem(request);
    size_t i;

    if (problem != NULL) {
        /* What follows on this connection could be anybody's idea of a request. */
        http_close_after_response(request);
        problem_respond(request, PROBLEM_BAD_REQUEST, problem);
        return;
    }
    if (slice_is(path, "/objects")) {
        handle_collection(api, request);
        return;
    }
    if (slice_starts_with(path, "/objects/")) {
        path.base += strlen("/objects/");
        path.len -= strlen("/objects/");
        handle_encoded_name(api, request, path);
        return;
    }
    if (slice_is(path, "/uploads") || slice_starts_with(path, "/uploads/")) {
        path.base += strlen("/uploads");
        path.len -= strlen("/uploads");
        api_uploads(api, request, path);
        return;
    }
    for (i = 0; i < sizeof(readings) / sizeof(readings[0]); i++) {
        if (slice_is(path, readings[i].path)) {
            if (api_check_method(request, METHOD_GET | METHOD_HEAD) != 0)
                readings[i].handler(api, request);
            return;
        }
    }
    problem_respond(request, PROBLEM_NO_SUCH_RESOURCE,
                    "The paths are /objects, /objects/NAME, /uploads, /status, /healthz and /metrics.");
}

bool api_take_conditions(struct http_request *request, struct conditions *conditions)
{
    const char *problem;

    conditions->if_match = http_request_list_field(request, "if-match");
    conditions->if_none_match = http_request_list_field(request, "if-none-match");
    conditions->if_modified_since = http_request_field(request, "if-modified-since");
    conditions->if_unmodified_since = http_request_field(request, "if-unmodified-since");
    conditions->if_range = http_request_field(request, "if-range");
    problem = conditions_problem(conditions);
    if (problem != NULL)
        problem_respond(request, PROBLEM_BAD_REQUEST, problem);
    return problem == NULL;
}

static bool is_withdrawn(void *request)
{
    return http_request_is_given_up(request);
}

struct store_wish api_wish(struct http_request *request)
{
    return (struct store_wish){is_withdrawn, request};
}

struct slice api_media_type(struct api *api, struct slice name, struct slice kept)
{
    return kept.base != NULL ? kept : slice_of(http_media_type_of_name(api->server, name));
}

/* What is wanted is a hint: one that cannot be read is passed over (RFC 9530, 4). */
static void add_digest_fields(struct http_request *request, const struct digests *digests)
{
    struct slice wanted = http_request_list_field(request, "want-repr-digest");
    struct digest_preferences preferences = {{0}};
    struct buffer field = {NULL, 0, 0};
    bool chosen =
        wanted.base != NULL && digest_preferences_take(wanted, "Want-Repr-Digest", &preferences) == NULL;

    digests_format(digests, chosen ? &preferences : NULL, &field);
    if (field.len != 0)
        http_add_field(request, "Repr-Digest", buffer_slice(&field));
    buffer_free(&field);
}

void api_append_path(struct slice name, struct buffer *to)
{
    buffer_append_text(to, "/objects/");
    percent_encode(name, true, to);
}

void api_add_expiry_field(struct http_request *request, int64_t expires_ns)
{
    char date[HTTP_DATE_SIZE];

    if (expires_ns == 0)
        return;
    http_date_format(expires_ns / 1000000000, date);
    http_add_field_text(request, "X-Expires-At", date);
}

void api_add_file_fields(struct api *api, struct http_request *request, struct slice name, const char *etag,
                         const struct manifest *manifest, struct slice content_type)
{
    char date[HTTP_DATE_SIZE];
    size_t i;

    http_date_format(manifest->modified_ns / 1000000000, date);
    http_add_field_text(request, "ETag", etag);
    http_add_field_text(request, "Last-Modified", date);
    http_add_field_text(request, "Accept-Ranges", "bytes");
    api_add_expiry_field(request, manifest->expires_ns);
    http_add_field(request, "Content-Type",
                   content_type.base != NULL ? content_type
                                             : api_media_type(api, name, manifest->media_type));
    add_digest_fields(request, &manifest->digests);
    for (i = 0; i < manifest->metadata_count; i++) {
        struct buffer field = {NULL, 0, 0};
        buffer_append_text(&field, "X-Meta-");
        buffer_append_slice(&field, manifest->metadata[i].name);
        http_add_field(request, field.base, manifest->metadata[i].value);
        buffer_free(&field);
    }
}

void api_json_file(struct api *api, yajl_gen gen, struct slice name, uint64_t size, int64_t modified_ns,
                   int64_t expires_ns, const char *etag, struct slice media_type)
{
    char modified[RFC3339_SIZE], expires[RFC3339_SIZE];

    rfc3339_format(modified_ns, modified);
    json_member_name(gen, "name", name);
    json_member_number(gen, "size", (int64_t)size);
    json_member_text(gen, "modified", modified);
    if (expires_ns != 0) {
        rfc3339_format(expires_ns, expires);
        json_member_text(gen, "expires", expires);
    }
    json_member_text(gen, "etag", etag);
    json_member_string(gen, "type", api_media_type(api, name, media_type));
}

yajl_gen api_stored_begin(void)
{
    yajl_gen gen = json_begin();

    yajl_gen_map_open(gen);
    json_text(gen, "objects");
    yajl_gen_array_open(gen);
    return gen;
}

void api_stored_add(struct api *api, yajl_gen gen, struct slice name, uint64_t size, int64_t modified_ns,
                    int64_t expires_ns, const char *etag, struct slice media_type, bool created)
{
    yajl_gen_map_open(gen);
    api_json_file(api, gen, name, size, modified_ns, expires_ns, etag, media_type);
    json_text(gen, "created");
    yajl_gen_bool(gen, created);
    yajl_gen_map_close(gen);
}

void api_stored_end(yajl_gen gen)
{
    yajl_gen_array_close(gen);
    yajl_gen_map_close(gen);
}

/* ---- answers that workers make ---- */

static void rendered_free(struct answer *answer)
{
    struct rendered *rendered = (struct rendered *)answer;

    buffer_free(&rendered->body);
    buffer_free(&rendered->link);
    free(rendered);
}

struct rendered *rendered_new(bool as_text)
{
    struct rendered *rendered = xcalloc(1, sizeof(*rendered));

    atomic_init(&rendered->answer.references, 1);
    rendered->answer.free = rendered_free;
    rendered->as_text = as_text;
    return rendered;
}

struct worker_request {
    struct ask ask; /* first */
    struct http_request *request;
};

static void on_rendered(struct ask *ask)
{
    struct worker_request *waiting = (struct worker_request *)ask;
    struct rendered *rendered = (struct rendered *)ask->answer;
    struct http_request *request = waiting->request;

    free(waiting);
    if (rendered == NULL) {
        problem_respond(request, PROBLEM_OVERLOADED, NULL);
        return;
    }
    if (rendered->result != STORE_OK) {
        problem_respond(request, problem_of_store_result(rendered->result), NULL);
    } else {
        http_add_field_text(request, "Content-Type",
                            rendered->as_text ? "text/plain; charset=utf-8" : "application/json");
        http_add_field_text(request, "Cache-Control", "no-store");
        if (rendered->link.len != 0)
            http_add_field(request, "Link", buffer_slice(&rendered->link));
        http_respond(request, 200, buffer_slice(&rendered->body));
    }
    answer_release(&rendered->answer);
}

void api_respond_from_worker(struct api *api, struct http_request *request, struct job *job)
{
    struct worker_request *waiting = xcalloc(1, sizeof(*waiting));

    waiting->request = request;
    waiting->ask.home = http_request_loop(request);
    waiting->ask.done = on_rendered;
    workers_ask(api->workers, job, &waiting->ask);
}
