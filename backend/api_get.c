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
    struct ranges ranges;

    /* What is sent: all of it is one span. Several come as parts, each behind a header, and a closing line. */
    struct span spans[RANGES_MAX];
    size_t span_count, span;
    bool between_spans; /* what is under way is a part's header */
    bool last_of_span;  /* or the last bytes of a part */
    char boundary[HEAD_TAG_SIZE];
    struct buffer media_type, part;
    uint64_t size;

    struct slice name; /* in name_storage */
    char name_storage[];
};

static void get_end(struct get *get)
{
    store_reader_close(get->reader);
    buffer_free(&get->media_type);
    buffer_free(&get->part);
    free(get);
}

/* ---- the content's way ---- */

static bool is_multipart(const struct get *get)
{
    return get->span_count > 1;
}

/* What stands before the span (RFC 9110, 14.6), or behind the last one. */
static void append_part(const struct get *get, size_t span, struct buffer *to)
{
    const struct span *at = &get->spans[span];

    buffer_printf(to, "%s--%s", span != 0 ? "\r\n" : "", get->boundary);
    if (span == get->span_count)
        buffer_append_text(to, "--\r\n");
    else
        buffer_printf(
            to, "\r\nContent-Type: %s\r\nContent-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
            get->media_type.base, at->offset, at->offset + at->length - 1, get->size);
}

static void send_part(struct get *get)
{
    get->part.len = 0;
    append_part(get, get->span, &get->part);
    get->between_spans = true;
    http_stream_send(get->request, buffer_slice(&get->part), get->span == get->span_count);
}

static void start_span(struct get *get)
{
    const struct span *span = &get->spans[get->span++];

    get->between_spans = false;
    store_reader_start(get->reader, span->offset, span->length);
}

static void on_data(void *context, struct slice bytes, bool last)
{
    struct get *get = context;

    get->last_of_span = last;
    http_stream_send(get->request, bytes, last && !is_multipart(get));
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

    if (get->between_spans) {
        start_span(get);
        return;
    }
    store_reader_next(get->reader);
    if (get->last_of_span)
        send_part(get);
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

static void add_md5(struct get *get, const struct digests *digests)
{
    struct buffer field = {NULL, 0, 0};

    if ((digests->known & DIGEST_BIT(DIGEST_MD5)) == 0)
        return;
    digest_append_base64(digests, DIGEST_MD5, &field);
    http_add_field(get->request, "Content-MD5", buffer_slice(&field));
    buffer_free(&field);
}

static void add_content_range(struct get *get)
{
    const struct span *span = &get->spans[0];
    struct buffer field = {NULL, 0, 0};

    buffer_printf(&field, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, span->offset,
                  span->offset + span->length - 1, get->size);
    http_add_field(get->request, "Content-Range", buffer_slice(&field));
    buffer_free(&field);
}

/* Makes what the parts need, and returns the length of all of them with what stands between them. */
static uint64_t prepare_parts(struct get *get, const struct head *head, struct buffer *content_type)
{
    uint64_t length = 0;
    size_t i;

    /* Random, so no content can have it but by chance. */
    head_new_tag(get->boundary);
    buffer_printf(content_type, "multipart/byteranges; boundary=%s", get->boundary);
    buffer_append_slice(&get->media_type, api_media_type(get->api, get->name, head->manifest.media_type));
    for (i = 0; i <= get->span_count; i++) {
        get->part.len = 0;
        append_part(get, i, &get->part);
        length += get->part.len + (i < get->span_count ? get->spans[i].length : 0);
    }
    return length;
}

static void respond_content(struct get *get, const struct head *head)
{
    uint64_t length = is_multipart(get) ? 0 : get->spans[0].length;
    struct buffer content_type = {NULL, 0, 0};
    int status = get->ranges.count != 0 ? 206 : 200;

    if (is_multipart(get))
        length = prepare_parts(get, head, &content_type);
    api_add_file_fields(get->api, get->request, get->name, head->etag, &head->manifest,
                        is_multipart(get) ? buffer_slice(&content_type) : SLICE_ABSENT);
    buffer_free(&content_type);
    if (status == 200)
        add_md5(get,
                &head->manifest.digests); /* that of the content of this response, so only of a whole one */
    else if (!is_multipart(get))
        add_content_range(get);
    if (!get->content_wanted || length == 0) {
        http_respond_empty(get->request, status, length);
        get_end(get);
        return;
    }
    http_stream_start(get->request, status, length, &stream_callbacks, get);
    if (is_multipart(get))
        send_part(get);
    else
        start_span(get);
}

/* Which bytes are to be sent; false when there are none, and then the request has been answered. */
static bool choose_spans(struct get *get)
{
    if (get->ranges.count == 0) {
        get->spans[0] = (struct span){0, get->size};
        get->span_count = 1;
        return true;
    }
    if (get->ranges.too_many) {
        problem_respond(get->request, PROBLEM_RANGE, "The Range field has more than 32 ranges.");
        return false;
    }
    get->span_count = ranges_resolve(&get->ranges, get->size, get->spans);
    if (get->span_count == 0)
        respond_not_satisfiable(get, get->size);
    return get->span_count != 0;
}

static void on_opened(void *context, enum store_result result, const struct head *head)
{
    struct get *get = context;
    struct validators there;
    enum condition_result condition;

    if (result != STORE_OK) {
        problem_respond(get->request, problem_of_store_result(result), NULL);
        get_end(get);
        return;
    }

    there = head_validators(head);
    condition = conditions_evaluate(&get->conditions, &there, true);
    if (condition == CONDITION_FAILED) {
        problem_respond(get->request, PROBLEM_PRECONDITION, NULL);
        get_end(get);
        return;
    }
    if (condition == CONDITION_NOT_MODIFIED) {
        api_add_file_fields(get->api, get->request, get->name, head->etag, &head->manifest, SLICE_ABSENT);
        http_respond_empty(get->request, 304, SIZE_MAX);
        get_end(get);
        return;
    }

    if (!condition_if_range(&get->conditions, &there, clock_realtime_ns() / 1000000000))
        get->ranges = (struct ranges){.count = 0};
    get->size = head->manifest.size;
    if (choose_spans(get))
        respond_content(get, head);
    else
        get_end(get);
}

static const struct store_reader_callbacks reader_callbacks = {on_opened, on_data, on_failed};

void api_get(struct api *api, struct http_request *request, struct slice name)
{
    static const struct range all = {RANGE_NONE, 0, 0, 0};
    struct get *get;
    struct conditions conditions;
    bool one_range;

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
    if (get->content_wanted)
        get->ranges = ranges_parse(http_request_list_field(request, "range"));

    /*
     * One range comes with the head. For several all of it is read first, if it lies in the head; and so it is when
     * If-Range may turn one range into the whole file.
     */
    one_range = get->ranges.count == 1 && conditions.if_range.base == NULL;
    get->reader = store_reader_open(api->store, http_request_loop(request), name,
                                    one_range ? &get->ranges.list[0] : &all, get->content_wanted,
                                    &reader_callbacks, get);
}
