/* GET /objects: the query is read here, the listing made and rendered by a worker. */
#include "api.h"

#include <stdlib.h>

#include "decimal.h"
#include "name.h"
#include "query.h"
#include "xalloc.h"

#define LIMIT_DEFAULT 1000

struct list_job {
    struct job job; /* first */
    struct api *api;
    struct buffer prefix, delimiter, after;
    unsigned limit;
    bool as_text;
    struct buffer key;
};

static void list_job_free(struct job *base)
{
    struct list_job *job = (struct list_job *)base;

    buffer_free(&job->prefix);
    buffer_free(&job->delimiter);
    buffer_free(&job->after);
    buffer_free(&job->key);
    free(job);
}

/* ---- the query ---- */

static bool parse_limit(struct slice text, unsigned *limit)
{
    uint64_t number;
    bool well = decimal_parse(text, LIST_LIMIT_MAX, &number) && number != 0;

    *limit = (unsigned)number;
    return well;
}

static const char *take_text(struct buffer *into, struct slice value)
{
    if (value.len > NAME_SIZE_MAX)
        return "prefix, delimiter and after have at most 1024 bytes.";
    into->len = 0;
    buffer_append_slice(into, value);
    return NULL;
}

/* NULL, or a sentence about what is wrong. */
static const char *take_parameter(struct list_job *job, struct slice name, struct slice value)
{
    if (slice_is(name, "limit"))
        return parse_limit(value, &job->limit) ? NULL : "limit has to be a number from 1 to 10000.";
    if (slice_is(name, "prefix"))
        return take_text(&job->prefix, value);
    if (slice_is(name, "delimiter"))
        return take_text(&job->delimiter, value);
    if (slice_is(name, "after"))
        return take_text(&job->after, value);
    return "The query has an unknown parameter; the known ones are limit, prefix, delimiter and after.";
}

static const char *take_query(struct list_job *job, struct slice text)
{
    const char *problem = NULL;
    struct query query;
    int more = 0;

    query_begin(&query, text);
    while (problem == NULL && (more = query_next(&query)) == 1)
        problem = take_parameter(job, buffer_slice(&query.name), buffer_slice(&query.value));
    query_end(&query);
    if (more == -1)
        return "The query has a % that is not followed by two hexadecimal digits.";
    return problem;
}

/* The query of a page that begins behind `after`. */
static void append_query(const struct list_job *job, struct slice after, struct buffer *to)
{
    buffer_printf(to, "limit=%u", job->limit);
    if (job->prefix.len != 0) {
        buffer_append_text(to, "&prefix=");
        percent_encode(buffer_slice(&job->prefix), true, to);
    }
    if (job->delimiter.len != 0) {
        buffer_append_text(to, "&delimiter=");
        percent_encode(buffer_slice(&job->delimiter), true, to);
    }
    if (after.len != 0) {
        buffer_append_text(to, "&after=");
        percent_encode(after, true, to);
    }
}

/* ---- on a worker ---- */

static void render_json(const struct list_job *job, const struct list *list, struct buffer *to)
{
    yajl_gen gen = json_begin();
    size_t i;

    yajl_gen_map_open(gen);
    json_text(gen, "objects");
    yajl_gen_array_open(gen);
    for (i = 0; i < list->count; i++) {
        const struct list_entry *entry = &list->entries[i];
        if (entry->is_prefix)
            continue;
        yajl_gen_map_open(gen);
        api_json_file(job->api, gen, (struct slice){entry->name, entry->name_len}, entry->size,
                      entry->modified_ns, entry->expires_ns, entry->etag, slice_of(entry->media_type));
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);

    json_text(gen, "prefixes");
    yajl_gen_array_open(gen);
    for (i = 0; i < list->count; i++)
        if (list->entries[i].is_prefix)
            json_string(gen, (struct slice){list->entries[i].name, list->entries[i].name_len});
    yajl_gen_array_close(gen);

    if (list->next != NULL) {
        json_member_name(gen, "next", (struct slice){list->next, list->next_len});
    } else {
        json_text(gen, "next");
        yajl_gen_null(gen);
    }
    yajl_gen_map_close(gen);
    json_finish(gen, to);
}

static void render_text(const struct list *list, struct buffer *to)
{
    size_t i;

    for (i = 0; i < list->count; i++)
        name_append_line((struct slice){list->entries[i].name, list->entries[i].name_len}, to);
}

static struct answer *run_list(struct job *base)
{
    struct list_job *job = (struct list_job *)base;
    struct list_options options = {buffer_slice(&job->prefix), buffer_slice(&job->delimiter),
                                   buffer_slice(&job->after), job->limit};
    struct rendered *rendered = rendered_new(job->as_text);
    struct list list;

    rendered->result = store_list(job->api->store, &options, &list);
    if (rendered->result == STORE_OK) {
        if (job->as_text)
            render_text(&list, &rendered->body);
        else
            render_json(job, &list, &rendered->body);
        if (list.next != NULL) {
            buffer_append_text(&rendered->link, "</objects?");
            append_query(job, (struct slice){list.next, list.next_len}, &rendered->link);
            buffer_append_text(&rendered->link, ">; rel=\"next\"");
        }
    }
    store_list_free(&list);
    return &rendered->answer;
}

void api_list(struct api *api, struct http_request *request)
{
    struct list_job *job = xcalloc(1, sizeof(*job));
    struct slice query = http_request_query(request);
    const char *problem = NULL;

    job->job.run = run_list;
    job->job.free = list_job_free;
    job->api = api;
    job->limit = LIMIT_DEFAULT;
    job->as_text = http_request_wants_text(request);
    if (query.base != NULL)
        problem = take_query(job, query);
    if (problem != NULL) {
        problem_respond(request, PROBLEM_BAD_QUERY, problem);
        list_job_free(&job->job);
        return;
    }
    buffer_printf(&job->key, "list %s ", job->as_text ? "text" : "json");
    append_query(job, buffer_slice(&job->after), &job->key);
    job->job.key = job->key.base;
    api_respond_from_worker(api, request, &job->job);
}
