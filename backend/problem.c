#include "problem.h"

static const struct {
    int status;
    const char *slug, *title;
} problems[] = {
#define X(id, status, slug, title) [id] = {status, slug, title},
    PROBLEMS(X)
#undef X
};

#define RETRY_AFTER_SECONDS "1"

int problem_status(enum problem problem)
{
    return problems[problem].status;
}

void problem_type(enum problem problem, struct buffer *to)
{
    buffer_printf(to, "urn:ceph-lb:problem:%s", problems[problem].slug);
}

typedef void extend_function(yajl_gen gen, const void *context);

static void render(enum problem problem, const char *detail, bool as_text, extend_function *extend,
                   const void *context, struct buffer *to)
{
    struct buffer type = {NULL, 0, 0};
    yajl_gen gen;

    if (as_text) {
        buffer_printf(to, "%s%s%s\n", problems[problem].title, detail != NULL ? ": " : "",
                      detail != NULL ? detail : "");
        return;
    }
    gen = json_begin();
    problem_type(problem, &type);
    yajl_gen_map_open(gen);
    json_member_string(gen, "type", buffer_slice(&type));
    json_member_text(gen, "title", problems[problem].title);
    json_member_number(gen, "status", problems[problem].status);
    if (detail != NULL)
        json_member_text(gen, "detail", detail);
    if (extend != NULL)
        extend(gen, context);
    yajl_gen_map_close(gen);
    json_finish(gen, to);
    buffer_free(&type);
}

void problem_render(enum problem problem, const char *detail, bool as_text, struct buffer *to)
{
    render(problem, detail, as_text, NULL, NULL, to);
}

void problem_respond_extended(struct http_request *request, enum problem problem, const char *detail,
                              extend_function *extend, const void *context)
{
    struct buffer body = {NULL, 0, 0};
    bool as_text = http_request_wants_text(request);

    render(problem, detail, as_text, extend, context, &body);
    http_add_field_text(request, "Content-Type",
                        as_text ? "text/plain; charset=utf-8" : "application/problem+json");
    if (problems[problem].status == 503)
        http_add_field_text(request, "Retry-After", RETRY_AFTER_SECONDS);
    http_respond(request, problems[problem].status, buffer_slice(&body));
    buffer_free(&body);
}

void problem_respond(struct http_request *request, enum problem problem, const char *detail)
{
    problem_respond_extended(request, problem, detail, NULL, NULL);
}

enum problem problem_of_store_result(enum store_result result)
{
    switch (result) {
    case STORE_NOT_FOUND:
        return PROBLEM_NOT_FOUND;
    case STORE_PRECONDITION_FAILED:
        return PROBLEM_PRECONDITION;
    case STORE_FULL:
        return PROBLEM_FULL;
    case STORE_UNAVAILABLE:
    case STORE_WITHDRAWN: /* which nobody reads */
        return PROBLEM_UNAVAILABLE;
    case STORE_CONTENDED:
    case STORE_CHANGED:
        return PROBLEM_CONTENDED;
    case STORE_DAMAGED:
        return PROBLEM_DAMAGED;
    case STORE_TOO_LARGE:
        return PROBLEM_TOO_LARGE;
    case STORE_GIVEN_UP:
        return PROBLEM_GIVEN_UP;
    case STORE_REFUSED:
        return PROBLEM_BAD_REQUEST;
    case STORE_OK:
    case STORE_NOT_MODIFIED:
    case STORE_FAILED:
        break;
    }
    return PROBLEM_FAILED;
}

struct slice problem_http_error_body(int status, bool as_text)
{
    static _Thread_local struct buffer body;
    enum problem problem = PROBLEM_BAD_REQUEST;

    if (status == 413)
        problem = PROBLEM_TOO_LARGE;
    else if (status == 417)
        problem = PROBLEM_EXPECTATION;
    else if (status == 507)
        problem = PROBLEM_SPOOL_FULL;
    body.len = 0;
    problem_render(problem, NULL, as_text, &body);
    return buffer_slice(&body);
}
