/* GET and HEAD /objects/NAME: the head decides what is answered, then the content flows from RADOS to the
 * client. */
#include "api.h"

#include <inttypes.h>
#include <stdlib.h>

#include "range.h"
#include "xalloc.h"

struct get {
    struct api *api;
    struct http_request *request;
    struct store_reader *reader;
    bool content_wanted;
    struct conditions conditions;
    struct range range;
    struct slice name; /* in name_storage */
    char name_storage[];
};

static void get_end(struct get *get)
{
    store_reader_close(get->reader);
    free(get);
}

/* ---- the content's way ---- */

static void on_data(void *context, struct slice bytes, bool last)
{
    struct get *get = context;
    http_stream_send(get->request, bytes, last);
}

static void on_failed(void *context, enum store_result result)
{
    struct get *get = context;

    (void)result;
    /* The status has been sent; that the connection breaks off is all that can still be said. */
    http_stream_abort(get->request);
}

static void on_sent(void *context)
{
    struct get *get = context;
    store_reader_next(get->reader);
}

static void on_ended(void *context)
{
    get_end(context);
}

static const struct http_stream_callbacks stream_callbacks = {on_sent, on_ended};

/* ---- the head's answer ---- */

static void respond_not_satisfiable(struct get *get, uint64_t size)
{
    struct buffer field = {NULL, 0, 0};

    buffer_printf(&field, "bytes */%" PRIu64, size);
    http_add_field(get->request, "Content-Range", buffer_slice(&field));
    buffer_free(&field);
    problem_respond(get->request, PROBLEM_RANGE, NULL);
}

static void respond_content(struct get *get, const struct head *head, uint64_t offset, uint64_t length)
{
    uint64_t size = head->manifest.size;
    struct buffer field = {NULL, 0, 0};
    int status = 200;

    api_add_file_fields(get->api, get->request, get->name, head->etag, &head->manifest);
    /* That of the content of this response, so only of a whole one. */
    if (get->range.kind == RANGE_NONE && (head->manifest.digests.known & DIGEST_BIT(DIGEST_MD5)) != 0) {
        digest_append_base64(&head->manifest.digests, DIGEST_MD5, &field);
        http_add_field(get->request, "Content-MD5", buffer_slice(&field));
        buffer_free(&field);
    }
    if (get->range.kind != RANGE_NONE) {
        status = 206;
        buffer_printf(&field, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, offset, offset + length - 1, size);
        http_add_field(get->request, "Content-Range", buffer_slice(&field));
        buffer_free(&field);
    }
    if (!get->content_wanted || length == 0) {
        http_respond_empty(get->request, status, length);
        get_end(get);
        return;
    }
    http_stream_start(get->request, status, length, &stream_callbacks, get);
    store_reader_start(get->reader, offset, length);
}

static void on_opened(void *context, enum store_result result, const struct head *head)
{
    struct get *get = context;
    struct validators there;
    enum condition_result condition;
    uint64_t offset, length;

    if (result != STORE_OK) {
        problem_respond(get->request, problem_of_store_result(result), NULL);
        get_end(get);
        return;
    }

    there = (struct validators){true, head->etag, head->manifest.modified_ns / 1000000000};
    condition = conditions_evaluate(&get->conditions, &there, true);
    if (condition == CONDITION_FAILED) {
        problem_respond(get->request, PROBLEM_PRECONDITION, NULL);
        get_end(get);
        return;
    }
    if (condition == CONDITION_NOT_MODIFIED) {
        api_add_file_fields(get->api, get->request, get->name, head->etag, &head->manifest);
        http_respond_empty(get->request, 304, SIZE_MAX);
        get_end(get);
        return;
    }

    if (!condition_if_range(&get->conditions, &there))
        get->range.kind = RANGE_NONE;
    if (!range_resolve(&get->range, head->manifest.size, &offset, &length)) {
        respond_not_satisfiable(get, head->manifest.size);
        get_end(get);
        return;
    }
    respond_content(get, head, offset, length);
}

static const struct store_reader_callbacks reader_callbacks = {on_opened, on_data, on_failed};

void api_get(struct api *api, struct http_request *request, struct slice name)
{
    struct get *get;
    struct conditions conditions;

    if (!api_take_conditions(request, &conditions))
        return;
    get = xcalloc(1, sizeof(*get) + name.len + 1);
    get->api = api;
    get->request = request;
    get->conditions = conditions;
    get->content_wanted = slice_is(http_request_method(request), "GET");
    memcpy(get->name_storage, name.base, name.len);
    get->name = (struct slice){get->name_storage, name.len};
    /* A range is for GET only (RFC 9110, 14.2). */
    if (get->content_wanted && http_request_field(request, "range").base != NULL)
        get->range = range_parse(http_request_field(request, "range"));

    get->reader = store_reader_open(api->store, http_request_loop(request), name, &get->range,
                                    get->content_wanted, &reader_callbacks, get);
}
