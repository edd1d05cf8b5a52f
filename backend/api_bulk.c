/* POST /objects?delete: a list of files to be deleted, some at a time, and then one answer that tells of each. */
#include "api.h"

#include <stdlib.h>

#include "name.h"
#include "name_list.h"
#include "xalloc.h"

#define DELETIONS_AT_ONCE 16
#define BODY_SIZE_MAX     (8 * 1024 * 1024) /* more than 1000 names can take, each byte written as \u00XX */

struct bulk;

struct bulk_deletion {
    struct store_delete operation; /* first */
    struct bulk *bulk;             /* NULL when nothing is under way here */
    size_t index;                  /* of the name */
};

struct bulk {
    struct api *api;
    struct http_request *request;
    struct name_list names;
    enum store_result results[NAME_LIST_MAX];
    size_t next;
    unsigned under_way;
    struct bulk_deletion deletions[DELETIONS_AT_ONCE];
};

static void bulk_free(struct bulk *bulk)
{
    name_list_free(&bulk->names);
    free(bulk);
}

/* ---- the answer ---- */

static int status_of(enum store_result result)
{
    return result == STORE_OK ? 204 : problem_status(problem_of_store_result(result));
}

static void render_json(const struct bulk *bulk, struct buffer *to)
{
    yajl_gen gen = json_begin();
    size_t i;

    yajl_gen_map_open(gen);
    json_text(gen, "results");
    yajl_gen_array_open(gen);
    for (i = 0; i < bulk->names.count; i++) {
        enum store_result result = bulk->results[i];
        struct buffer type = {NULL, 0, 0};

        yajl_gen_map_open(gen);
        json_member_name(gen, "name", name_list_at(&bulk->names, i));
        json_member_number(gen, "status", status_of(result));
        if (result != STORE_OK) {
            problem_type(problem_of_store_result(result), &type);
            json_member_string(gen, "type", buffer_slice(&type));
        }
        yajl_gen_map_close(gen);
        buffer_free(&type);
    }
    yajl_gen_array_close(gen);
    yajl_gen_map_close(gen);
    json_finish(gen, to);
}

static void render_text(const struct bulk *bulk, struct buffer *to)
{
    size_t i;

    for (i = 0; i < bulk->names.count; i++) {
        buffer_printf(to, "%d ", status_of(bulk->results[i]));
        name_append_line(name_list_at(&bulk->names, i), to);
    }
}

static void respond(struct bulk *bulk)
{
    bool as_text = http_request_wants_text(bulk->request);
    struct buffer body = {NULL, 0, 0};

    if (as_text)
        render_text(bulk, &body);
    else
        render_json(bulk, &body);
    http_add_field_text(bulk->request, "Content-Type",
                        as_text ? "text/plain; charset=utf-8" : "application/json");
    http_respond(bulk->request, 200, buffer_slice(&body));
    buffer_free(&body);
    bulk_free(bulk);
}

/* ---- the deletions ---- */

static void go_on(struct bulk *bulk);

static void on_deleted(struct store_delete *operation)
{
    struct bulk_deletion *deletion = (struct bulk_deletion *)operation;
    struct bulk *bulk = deletion->bulk;

    bulk->results[deletion->index] = operation->result;
    deletion->bulk = NULL;
    bulk->under_way--;
    go_on(bulk);
}

static void begin_deletion(struct bulk *bulk, struct bulk_deletion *deletion)
{
    deletion->bulk = bulk;
    deletion->index = bulk->next++;
    deletion->operation = (struct store_delete){.store = bulk->api->store,
                                                .home = http_request_loop(bulk->request),
                                                .name = name_list_at(&bulk->names, deletion->index),
                                                .done = on_deleted};
    bulk->under_way++;
    store_delete_begin(&deletion->operation);
}

static void go_on(struct bulk *bulk)
{
    unsigned i;

    for (i = 0; i < DELETIONS_AT_ONCE && bulk->next < bulk->names.count; i++)
        if (bulk->deletions[i].bulk == NULL)
            begin_deletion(bulk, &bulk->deletions[i]);
    if (bulk->under_way == 0)
        respond(bulk);
}

void api_bulk_delete(struct api *api, struct http_request *request)
{
    struct slice body = http_request_body(request);
    struct buffer problem = {NULL, 0, 0};
    enum name_list_result result;
    struct bulk *bulk;

    if (body.len > BODY_SIZE_MAX) {
        problem_respond(request, PROBLEM_TOO_LARGE, "A list of names to delete may have 8 MiB at most.");
        return;
    }
    bulk = xcalloc(1, sizeof(*bulk));
    bulk->api = api;
    bulk->request = request;
    result = name_list_parse(body, &bulk->names, &problem);
    if (result == NAME_LIST_OK) {
        go_on(bulk);
    } else {
        problem_respond(request, result == NAME_LIST_BAD_NAME ? PROBLEM_BAD_NAME : PROBLEM_BAD_REQUEST,
                        problem.base);
        bulk_free(bulk);
    }
    buffer_free(&problem);
}
