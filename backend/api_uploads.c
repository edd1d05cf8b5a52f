/*
 * Uploads in parts:
 *
 *     POST   /uploads?name=NAME[&size=BYTES]   begins one
 *     PUT    /uploads/ID/N                     stores a part
 *     GET    /uploads/ID                       what is there
 *     POST   /uploads/ID                       publishes the file
 *     DELETE /uploads/ID                       gives it up
 */
#include "api.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "decimal.h"
#include "name.h"
#include "query.h"
#include "store_upload.h"
#include "stripe.h"
#include "xalloc.h"

#define PIECE_SIZE (1024 * 1024)

static void respond_json(struct http_request *request, int status, yajl_gen gen)
{
    struct buffer body = {NULL, 0, 0};

    json_finish(gen, &body);
    http_add_field_text(request, "Content-Type", "application/json");
    http_add_field_text(request, "Cache-Control", "no-store");
    http_respond(request, status, buffer_slice(&body));
    buffer_free(&body);
}

static enum problem problem_of(enum store_result result)
{
    return result == STORE_NOT_FOUND || result == STORE_GIVEN_UP ? PROBLEM_NO_SUCH_UPLOAD
                                                                 : problem_of_store_result(result);
}

/* ---- beginning ---- */

struct beginning {
    struct store_upload_create create; /* first */
    struct http_request *request;
    struct upload_record record;
    struct buffer name;
};

static void beginning_free(struct beginning *beginning)
{
    buffer_free(&beginning->name);
    free(beginning);
}

static void add_members(yajl_gen gen, const char *id, const struct upload_record *record)
{
    json_member_text(gen, "id", id);
    json_member_name(gen, "name", record->name);
    json_member_number(gen, "part_size", (int64_t)record->part_size);
    json_member_number(gen, "parts_most", (int64_t)upload_parts_most(record));
    if (record->declared) {
        json_member_number(gen, "size", (int64_t)record->size);
    } else {
        json_text(gen, "size");
        yajl_gen_null(gen);
    }
}

static void on_begun(struct store_upload_create *create)
{
    struct beginning *beginning = (struct beginning *)create;
    struct http_request *request = beginning->request;
    char location[64];
    yajl_gen gen;

    if (create->result == STORE_REFUSED) {
        problem_respond(request, PROBLEM_BAD_REQUEST, "The fields of the request are too large to be kept.");
    } else if (create->result != STORE_OK) {
        problem_respond(request, problem_of_store_result(create->result), NULL);
    } else {
        gen = json_begin();
        yajl_gen_map_open(gen);
        add_members(gen, create->id, &beginning->record);
        yajl_gen_map_close(gen);
        snprintf(location, sizeof(location), "/uploads/%s", create->id);
        http_add_field_text(request, "Location", location);
        respond_json(request, 201, gen);
    }
    beginning_free(beginning);
}

/* NULL, or a sentence; *kind is of it. */
static const char *take_parameter(struct beginning *beginning, struct slice name, struct slice value,
                                  bool *name_seen, enum problem *kind)
{
    *kind = PROBLEM_BAD_QUERY;
    if (slice_is(name, "name") && !*name_seen) {
        *name_seen = true;
        *kind = PROBLEM_BAD_NAME;
        buffer_append_slice(&beginning->name, value);
        return name_problem(value);
    }
    if (slice_is(name, "size") && !beginning->record.declared) {
        beginning->record.declared = true;
        if (!decimal_parse(value, UINT64_MAX / 16, &beginning->record.size))
            return "size has to be a number of bytes.";
        *kind = PROBLEM_TOO_LARGE;
        return beginning->record.size > UPLOAD_FILE_SIZE_MOST ? "A file can have 5 TiB at most." : NULL;
    }
    return "The query has to be ?name=NAME, percent-encoded, and maybe &size=BYTES, each of them once.";
}

static const char *take_query(struct beginning *beginning, struct slice text, enum problem *kind)
{
    const char *problem = NULL;
    bool name_seen = false;
    struct query query;
    int more = 0;

    query_begin(&query, text);
    while (problem == NULL && (more = query_next(&query)) == 1)
        problem = take_parameter(beginning, buffer_slice(&query.name), buffer_slice(&query.value), &name_seen,
                                 kind);
    query_end(&query);
    if (problem != NULL)
        return problem;
    *kind = PROBLEM_BAD_QUERY;
    if (more == -1)
        return "The query has a % that is not followed by two hexadecimal digits.";
    return name_seen ? NULL : "The query has to be ?name=NAME, percent-encoded, and maybe &size=BYTES.";
}

static void begin(struct api *api, struct http_request *request)
{
    struct beginning *beginning = xcalloc(1, sizeof(*beginning));
    struct slice query = http_request_query(request);
    struct upload_record *record = &beginning->record;
    enum problem kind = PROBLEM_BAD_QUERY;
    const char *problem = take_query(beginning, query.base != NULL ? query : SLICE_LITERAL(""), &kind);

    if (problem == NULL && http_request_body(request).len != 0) {
        kind = PROBLEM_BAD_REQUEST;
        problem = "The request that begins an upload has no body; the parts follow.";
    }
    if (problem != NULL) {
        problem_respond(request, kind, problem);
        beginning_free(beginning);
        return;
    }
    record->name = buffer_slice(&beginning->name);
    if (!api_take_conditions(request, &record->conditions) ||
        !api_take_description(request, &record->manifest)) {
        beginning_free(beginning);
        return;
    }
    record->manifest.media_type = api_media_type(api, record->name, record->manifest.media_type);
    beginning->request = request;
    beginning->create = (struct store_upload_create){
        .store = api->store, .home = http_request_loop(request), .record = record, .done = on_begun};
    store_upload_create_begin(&beginning->create);
}

/* ---- a part ---- */

struct parting {
    struct store_upload_part part; /* first */
    struct api *api;
    struct http_request *request;
    char id[HEAD_TAG_SIZE];
};

static void on_part_stored(struct store_upload_part *part)
{
    struct parting *parting = (struct parting *)part;

    if (part->result == STORE_OK)
        http_respond_empty(parting->request, 204, SIZE_MAX);
    else if (part->result == STORE_REFUSED)
        problem_respond(parting->request, part->conflict ? PROBLEM_PART_CONFLICT : PROBLEM_BAD_PART,
                        part->problem);
    else
        problem_respond(parting->request, problem_of(part->result), NULL);
    free(parting);
}

static void on_part_used(struct store_upload_part *part)
{
    http_request_body_used(((struct parting *)part)->request, part->content);
}

static void on_part_verified(void *context, bool right)
{
    struct parting *parting = context;

    if (right)
        store_upload_part_begin(&parting->part);
    else
        free(parting);
}

static void put_part(struct api *api, struct http_request *request, const char *id, struct slice number_text)
{
    struct parting *parting;
    struct digests claimed;
    uint64_t number;

    if (!decimal_parse(number_text, 99999999, &number)) {
        problem_respond(request, PROBLEM_BAD_PART,
                        "The path has to be /uploads/ID/N, N the number of the part from 0 on.");
        return;
    }
    if (!api_take_digests(request, &claimed))
        return;
    parting = xcalloc(1, sizeof(*parting));
    parting->api = api;
    parting->request = request;
    strcpy(parting->id, id);
    parting->part = (struct store_upload_part){.store = api->store,
                                               .home = http_request_loop(request),
                                               .id = parting->id,
                                               .number = number,
                                               .content = http_request_body(request),
                                               .done = on_part_stored,
                                               .used = on_part_used};
    api_verify_body(api, request, &claimed, on_part_verified, parting);
}

/* ---- what there is of one: to tell, to publish, or to give up ---- */

struct working {
    struct store_upload_read read; /* first */
    struct api *api;
    struct http_request *request;
    char id[HEAD_TAG_SIZE];

    uint64_t size;
    struct digests claimed;
    struct store_upload_publish publish;
    struct store_upload_delete deletion;
    struct api_computation computation;
};

static void working_free(struct working *working)
{
    store_upload_read_free(&working->read);
    free(working);
}

static void working_begin(struct api *api, struct http_request *request, const char *id, bool parts_wanted,
                          void (*done)(struct store_upload_read *read), uint64_t size,
                          const struct digests *claimed)
{
    struct working *working = xcalloc(1, sizeof(*working));

    working->api = api;
    working->request = request;
    strcpy(working->id, id);
    working->size = size;
    if (claimed != NULL)
        working->claimed = *claimed;
    working->read = (struct store_upload_read){.store = api->store,
                                               .home = http_request_loop(request),
                                               .id = working->id,
                                               .parts_wanted = parts_wanted,
                                               .done = done};
    store_upload_read_begin(&working->read);
}

/* False, with the request answered, when there is none. */
static bool check_read(struct working *working)
{
    if (working->read.result == STORE_OK)
        return true;
    problem_respond(working->request, problem_of(working->read.result), NULL);
    working_free(working);
    return false;
}

static void on_read_to_tell(struct store_upload_read *read)
{
    struct working *working = (struct working *)read;
    uint64_t received = 0;
    yajl_gen gen;
    size_t i;

    if (!check_read(working))
        return;
    gen = json_begin();
    yajl_gen_map_open(gen);
    add_members(gen, working->id, &read->record);
    for (i = 0; i < read->part_count; i++)
        received += read->parts[i].size;
    json_member_number(gen, "received", (int64_t)received);
    json_text(gen, "published");
    yajl_gen_bool(gen, read->published);
    json_text(gen, "parts");
    yajl_gen_array_open(gen);
    for (i = 0; i < read->part_count; i++) {
        yajl_gen_map_open(gen);
        json_member_number(gen, "number", (int64_t)read->parts[i].number);
        json_member_number(gen, "size", (int64_t)read->parts[i].size);
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);
    yajl_gen_map_close(gen);
    respond_json(working->request, 200, gen);
    working_free(working);
}

static void on_deleted(struct store_upload_delete *operation)
{
    struct working *working = (struct working *)((char *)operation - offsetof(struct working, deletion));

    if (operation->result == STORE_OK)
        http_respond_empty(working->request, 204, SIZE_MAX);
    else
        problem_respond(working->request, problem_of(operation->result), NULL);
    working_free(working);
}

static void on_read_to_delete(struct store_upload_read *read)
{
    struct working *working = (struct working *)read;

    if (!check_read(working))
        return;
    working->deletion = (struct store_upload_delete){
        .store = read->store, .home = read->home, .id = working->id, .read = read, .done = on_deleted};
    store_upload_delete_begin(&working->deletion);
}

/* ---- publishing ---- */

static void respond_published(struct working *working, bool created, const char *etag, uint64_t size,
                              int64_t modified_ns)
{
    const struct upload_record *record = &working->read.record;
    struct buffer location = {NULL, 0, 0};
    yajl_gen gen = api_stored_begin();

    api_stored_add(working->api, gen, record->name, size, modified_ns, record->manifest.expires_ns, etag,
                   record->manifest.media_type, created);
    api_stored_end(gen);
    api_append_path(record->name, &location);
    http_add_field(working->request, "Location", buffer_slice(&location));
    buffer_free(&location);
    http_add_field_text(working->request, "ETag", etag);
    respond_json(working->request, created ? 201 : 200, gen);
    working_free(working);
}

static void on_published(struct store_upload_publish *publish)
{
    struct working *working = (struct working *)((char *)publish - offsetof(struct working, publish));

    if (publish->result == STORE_OK) {
        respond_published(working, publish->created, publish->etag, publish->size, publish->modified_ns);
        return;
    }
    problem_respond(working->request, problem_of(publish->result), NULL);
    working_free(working);
}

static void step_publish(struct working *working)
{
    working->publish = (struct store_upload_publish){.store = working->api->store,
                                                     .home = http_request_loop(working->request),
                                                     .id = working->id,
                                                     .read = &working->read,
                                                     .size = working->size,
                                                     .digests = working->claimed,
                                                     .done = on_published};
    store_upload_publish_begin(&working->publish);
}

static void respond_mismatch(struct working *working, const char *algorithm)
{
    struct buffer detail = {NULL, 0, 0};

    buffer_printf(&detail,
                  "The %s of the parts is another than the request says. The parts are as they were.",
                  algorithm);
    problem_respond(working->request, PROBLEM_DIGEST_MISMATCH, detail.base);
    buffer_free(&detail);
    working_free(working);
}

/* ---- digests that only reading all of it again can tell ---- */

static int read_part(rados_ioctx_t ioctx, const char *object, uint64_t size, char *piece,
                     struct digest_context *context)
{
    uint64_t at = 0;

    while (at < size) {
        int len = rados_read(ioctx, object, piece, PIECE_SIZE, at);

        if (len <= 0)
            return len < 0 ? len : -EIO;
        digest_update(context, piece, (size_t)len);
        at += (uint64_t)len;
    }
    return 0;
}

/* Blocks. A part never changes, so what is read here is what will be published. */
static int read_parts(struct api_computation *computation, struct digest_context *context)
{
    const struct working *working =
        (struct working *)((char *)computation - offsetof(struct working, computation));
    const struct store_upload_read *read = &working->read;
    char *piece, object[STRIPE_OBJECT_SIZE];
    rados_ioctx_t ioctx;
    int error = cluster_open_ioctx(working->api->cluster, SPACE_STRIPES, &ioctx);
    size_t i;

    if (error < 0)
        return error;
    piece = xmalloc(PIECE_SIZE);
    for (i = 0; i < read->part_count && error == 0; i++) {
        stripe_object(working->id, read->parts[i].number, object);
        error = read_part(ioctx, object, read->parts[i].size, piece, context);
    }
    free(piece);
    rados_ioctx_destroy(ioctx);
    return error;
}

static void on_computed(struct api_computation *computation)
{
    struct working *working = (struct working *)((char *)computation - offsetof(struct working, computation));
    enum store_result result = STORE_OK;
    int wrong;

    if (!computation->ran)
        result = STORE_UNAVAILABLE;
    else if (computation->error < 0)
        result = store_result_of_errno(working->api->store, computation->error,
                                       "cannot read the parts of upload", working->id);
    if (result != STORE_OK) {
        problem_respond(working->request, problem_of(result), NULL);
        working_free(working);
        return;
    }
    wrong = digests_compare(&working->claimed, &computation->digests);
    if (wrong >= 0)
        respond_mismatch(working, digest_name((enum digest_algorithm)wrong));
    else
        step_publish(working);
}

static void step_compute(struct working *working)
{
    working->computation = (struct api_computation){
        .algorithms = working->claimed.known, .feed = read_parts, .done = on_computed};
    api_compute_digests(working->api, http_request_loop(working->request), &working->computation);
}

static void step_verify(struct working *working)
{
    struct digests crc = {.known = 0};

    digests_set_crc32c(&crc, store_upload_crc32c(&working->read));
    if ((working->claimed.known & DIGEST_BIT(DIGEST_CRC32C)) != 0 &&
        memcmp(crc.value[DIGEST_CRC32C], working->claimed.value[DIGEST_CRC32C], digest_size(DIGEST_CRC32C)) !=
            0) {
        respond_mismatch(working, digest_name(DIGEST_CRC32C));
    } else if ((working->claimed.known & ~DIGEST_BIT(DIGEST_CRC32C)) == 0) {
        step_publish(working);
    } else if (working->size > working->api->file_size_max) {
        problem_respond(working->request, PROBLEM_BAD_DIGEST,
                        "Of a file this large only a crc32c can be verified: any other digest needs all of "
                        "it to be read again.");
        working_free(working);
    } else {
        step_compute(working);
    }
}

static void add_gaps(yajl_gen gen, const void *context)
{
    const struct upload_gaps *gaps = context;
    size_t i;

    json_text(gen, "missing");
    yajl_gen_array_open(gen);
    for (i = 0; i < gaps->missing_told; i++)
        yajl_gen_integer(gen, (long long)gaps->missing_numbers[i]);
    yajl_gen_array_close(gen);
    json_text(gen, "wrong_size");
    yajl_gen_array_open(gen);
    for (i = 0; i < gaps->wrong_told; i++)
        yajl_gen_integer(gen, (long long)gaps->wrong_numbers[i]);
    yajl_gen_array_close(gen);
}

static void respond_gaps(struct working *working, const struct upload_gaps *gaps)
{
    struct buffer detail = {NULL, 0, 0};

    buffer_printf(&detail,
                  "For a file of %" PRIu64 " bytes, %" PRIu64 " parts are missing and %" PRIu64
                  " have a size that does not fit.",
                  working->size, gaps->missing, gaps->wrong);
    problem_respond_extended(working->request, PROBLEM_PARTS_MISSING, detail.base, add_gaps, gaps);
    buffer_free(&detail);
    working_free(working);
}

static void on_read_to_publish(struct store_upload_read *read)
{
    struct working *working = (struct working *)read;
    struct upload_gaps *gaps;

    if (!check_read(working))
        return;
    if (read->published) {
        if (read->published_size == working->size) {
            respond_published(working, false, read->published_etag, read->published_size, read->published_ns);
            return;
        }
        problem_respond(working->request, PROBLEM_PART_CONFLICT, "It has been published, with another size.");
        working_free(working);
        return;
    }
    if (read->record.declared && read->record.size != working->size) {
        problem_respond(working->request, PROBLEM_BAD_REQUEST, "The upload was begun with another size.");
        working_free(working);
        return;
    }
    gaps = xcalloc(1, sizeof(*gaps));
    if (upload_is_complete(read->record.part_size, working->size, read->parts, read->part_count, gaps))
        step_verify(working);
    else
        respond_gaps(working, gaps);
    free(gaps);
}

static void publish(struct api *api, struct http_request *request, const char *id)
{
    struct digests claimed;
    uint64_t size = 0;
    const char *problem = upload_parse_publication(http_request_body(request), &size, &claimed);

    if (problem != NULL)
        problem_respond(request, PROBLEM_BAD_REQUEST, problem);
    else
        working_begin(api, request, id, true, on_read_to_publish, size, &claimed);
}

/* ---- paths ---- */

static bool is_id(struct slice text)
{
    size_t i;

    for (i = 0; i < text.len; i++)
        if (strchr("0123456789abcdef", text.base[i]) == NULL || text.base[i] == '\0')
            return false;
    return text.len == HEAD_TAG_SIZE - 1;
}

static void handle_one(struct api *api, struct http_request *request, const char *id)
{
    switch (api_check_method(request, METHOD_GET | METHOD_HEAD | METHOD_POST | METHOD_DELETE)) {
    case METHOD_GET:
    case METHOD_HEAD:
        working_begin(api, request, id, true, on_read_to_tell, 0, NULL);
        break;
    case METHOD_POST:
        publish(api, request, id);
        break;
    case METHOD_DELETE:
        working_begin(api, request, id, false, on_read_to_delete, 0, NULL);
        break;
    }
}

void api_uploads(struct api *api, struct http_request *request, struct slice rest)
{
    char id[HEAD_TAG_SIZE] = "";
    struct slice id_text;

    if (rest.len == 0) {
        if (api_check_method(request, METHOD_POST) != 0)
            begin(api, request);
        return;
    }
    rest.base++; /* the slash */
    rest.len--;
    id_text = rest;
    if (memchr(rest.base, '/', rest.len) != NULL)
        id_text = slice_cut(&rest, '/');
    else
        rest = SLICE_ABSENT;
    if (!is_id(id_text)) {
        problem_respond(request, PROBLEM_NO_SUCH_UPLOAD, "An upload's id has 32 hexadecimal digits.");
        return;
    }
    memcpy(id, id_text.base, id_text.len);
    if (rest.base == NULL)
        handle_one(api, request, id);
    else if (api_check_method(request, METHOD_PUT) != 0)
        put_part(api, request, id, rest);
}
