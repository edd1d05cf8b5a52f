/*
 * PUT /objects/NAME and POST /objects: one or several files to be stored, one after another, and then one
 * answer that tells what was stored.
 */
#include "api.h"

#include <stdlib.h>

#include "form.h"
#include "name.h"
#include "query.h"
#include "xalloc.h"

struct upload {
    struct store_put put; /* first; of the file being stored */
    struct api *api;
    struct http_request *request;
    struct manifest manifest;
    struct conditions conditions;
    struct digests claimed; /* of the request's body */
    struct slice
        media_type; /* that the client gave for all of them; absent for a form, whose parts have their own */

    struct form form; /* the files; for a raw body, one of them */
    size_t next;      /* which one is being stored */
    char *raw_name;   /* owned: the name of a raw body */
    struct form_file raw_file;
    struct api_arriving *arriving; /* NULL, or what was begun of it while it came */
    bool any_created;

    yajl_gen stored; /* the answer so far */
    struct buffer stored_text;
};

static void upload_free(struct upload *upload)
{
    if (upload->arriving != NULL)
        api_arriving_free(upload->arriving);
    if (upload->form.files == &upload->raw_file)
        free(upload->raw_name);
    else
        form_free(&upload->form);
    buffer_free(&upload->stored_text);
    free(upload);
}

/* ---- what the client says about the file ---- */

/* False when the request has been answered. */
static bool take_description(struct upload *upload)
{
    if (!api_take_conditions(upload->request, &upload->conditions) ||
        !api_take_description(upload->request, &upload->manifest) ||
        !api_take_digests(upload->request, &upload->claimed))
        return false;
    upload->media_type = upload->manifest.media_type;
    return true;
}

/* ---- storing them ---- */

static void store_next(struct upload *upload);

static struct form_file *current(struct upload *upload)
{
    return &upload->form.files[upload->next];
}

static void respond_stored(struct upload *upload)
{
    struct http_request *request = upload->request;
    bool as_text = http_request_wants_text(request);
    struct buffer json = {NULL, 0, 0}, location = {NULL, 0, 0};

    api_stored_end(upload->stored);
    json_finish(upload->stored, &json);

    if (upload->form.count == 1) {
        api_append_path(upload->form.files[0].name, &location);
        http_add_field(request, "Location", buffer_slice(&location));
        http_add_field_text(request, "ETag", upload->put.etag);
        api_add_expiry_field(request, upload->manifest.expires_ns);
        buffer_free(&location);
    }
    http_add_field_text(request, "Content-Type", as_text ? "text/plain; charset=utf-8" : "application/json");
    http_respond(request, upload->any_created ? 201 : 200,
                 buffer_slice(as_text ? &upload->stored_text : &json));
    buffer_free(&json);
    upload_free(upload);
}

static void respond_failed(struct upload *upload, enum store_result result)
{
    struct buffer detail = {NULL, 0, 0};

    yajl_gen_free(upload->stored);
    if (upload->next != 0)
        buffer_printf(
            &detail, "The first %zu of the form's %zu files are stored; \"%.*s\" and what follows are not.",
            upload->next, upload->form.count, (int)current(upload)->name.len, current(upload)->name.base);
    problem_respond(upload->request, problem_of_store_result(result), detail.base);
    buffer_free(&detail);
    upload_free(upload);
}

static void on_stored(struct store_put *put)
{
    struct upload *upload = (struct upload *)put;

    if (put->result != STORE_OK) {
        respond_failed(upload, put->result);
        return;
    }
    upload->any_created = upload->any_created || put->created;
    api_stored_add(upload->api, upload->stored, put->name, upload->manifest.size,
                   upload->manifest.modified_ns, upload->manifest.expires_ns, put->etag,
                   upload->manifest.media_type, put->created);
    name_append_line(put->name, &upload->stored_text);

    upload->next++;
    store_next(upload);
}

static void on_used(struct store_put *put, struct slice part)
{
    http_request_body_used(((struct upload *)put)->request, part);
}

static void store_next(struct upload *upload)
{
    struct form_file *file = current(upload);

    if (upload->next == upload->form.count) {
        respond_stored(upload);
        return;
    }
    upload->manifest.media_type = api_media_type(upload->api, file->name, file->media_type);
    /* What was claimed of a form is not of its files. */
    upload->manifest.digests = file == &upload->raw_file ? upload->claimed : (struct digests){.known = 0};
    upload->put =
        (struct store_put){.store = upload->api->store,
                           .home = http_request_loop(upload->request),
                           .name = file->name,
                           .content = file->content,
                           .manifest = &upload->manifest,
                           .conditions = upload->conditions,
                           .wish = api_wish(upload->request),
                           .early = upload->arriving != NULL ? api_arriving_early(upload->arriving) : NULL,
                           .done = on_stored,
                           .used = on_used};
    store_put_begin(&upload->put);
}

/* All is checked before anything is stored. NULL, or a sentence and which problem it is. */
static const char *files_problem(struct upload *upload, enum problem *kind)
{
    size_t i;

    if (upload->form.count == 0) {
        *kind = PROBLEM_BAD_FORM;
        return "The form has no file: a part with a filename.";
    }
    for (i = 0; i < upload->form.count; i++) {
        struct form_file *file = &upload->form.files[i];
        const char *problem = name_problem(file->name);

        *kind = PROBLEM_BAD_NAME;
        if (problem != NULL)
            return problem;
        if (file->media_type.len > MEDIA_TYPE_SIZE_MAX) {
            *kind = PROBLEM_BAD_FORM;
            return "The Content-Type of a part is longer than 255 bytes.";
        }
        /* What clients say when they do not know: the name's ending may say more. */
        if (slice_is_ignoring_case(file->media_type, "application/octet-stream") && file != &upload->raw_file)
            file->media_type = SLICE_ABSENT;
        if (file->content.len > upload->api->file_size_max) {
            *kind = PROBLEM_TOO_LARGE;
            return "The file is larger than what this server was told to take (--max-file-size).";
        }
    }
    return NULL;
}

static void on_verified(void *context, bool right)
{
    struct upload *upload = context;

    if (!right) {
        upload_free(upload);
        return;
    }
    upload->stored = api_stored_begin();
    store_next(upload);
}

static void upload_begin(struct upload *upload)
{
    enum problem kind = PROBLEM_BAD_REQUEST;
    const char *problem = files_problem(upload, &kind);

    if (problem != NULL) {
        problem_respond(upload->request, kind, problem);
        upload_free(upload);
        return;
    }
    api_verify_body(upload->api, upload->request, &upload->claimed, on_verified, upload);
}

static struct upload *upload_new(struct api *api, struct http_request *request)
{
    struct upload *upload = xcalloc(1, sizeof(*upload));

    upload->api = api;
    upload->request = request;
    return upload;
}

static void begin_raw(struct upload *upload, struct slice name)
{
    upload->raw_name = xmemdup0(name.base, name.len);
    upload->raw_file.name = (struct slice){upload->raw_name, name.len};
    upload->raw_file.content = http_request_body(upload->request);
    upload->form.files = &upload->raw_file;
    upload->form.count = 1;
    if (take_description(upload)) {
        upload->raw_file.media_type = upload->media_type;
        upload_begin(upload);
    } else {
        upload_free(upload);
    }
}

void api_put(struct api *api, struct http_request *request, struct slice name)
{
    struct upload *upload = upload_new(api, request);

    upload->arriving = api_take_arriving(request);
    begin_raw(upload, name);
}

static void on_searched(void *request, struct slice part)
{
    http_request_body_used(request, part);
}

static void post_form(struct api *api, struct http_request *request, struct slice boundary)
{
    struct upload *upload = upload_new(api, request);
    const char *problem =
        form_parse(http_request_body(request), boundary, on_searched, request, &upload->form);

    if (problem != NULL) {
        problem_respond(request, PROBLEM_BAD_FORM, problem);
        upload_free(upload);
    } else if (take_description(upload)) {
        upload_begin(upload);
    } else {
        upload_free(upload);
    }
}

static void post_raw(struct api *api, struct http_request *request)
{
    struct buffer name = {NULL, 0, 0};
    bool name_seen = false;
    struct query query;
    int more;

    query_begin(&query, http_request_query(request));
    while ((more = query_next(&query)) == 1) {
        if (!slice_is(buffer_slice(&query.name), "name") || name_seen) {
            more = -1;
            break;
        }
        name_seen = true;
        buffer_append_slice(&name, buffer_slice(&query.value));
    }
    query_end(&query);

    if (more == -1)
        problem_respond(request, PROBLEM_BAD_QUERY,
                        "The query has to be ?name=NAME, percent-encoded, once; or ?delete.");
    else if (!name_seen)
        problem_respond(
            request, PROBLEM_BAD_REQUEST,
            "A POST is either a form (multipart/form-data) with files in it, or a raw body with ?name=NAME.");
    else
        begin_raw(upload_new(api, request), buffer_slice(&name));
    buffer_free(&name);
}

void api_post(struct api *api, struct http_request *request)
{
    struct slice type = http_request_field(request, "content-type");
    const char *problem = NULL;
    struct slice boundary = type.base != NULL ? form_boundary(type, &problem) : SLICE_ABSENT;

    if (problem != NULL)
        problem_respond(request, PROBLEM_BAD_FORM, problem);
    else if (boundary.base != NULL)
        post_form(api, request, boundary);
    else
        post_raw(api, request);
}
