/*
 * A large file that is put: its stripes are written while its body arrives. What the request says besides is looked at
 * when all of it is there, as for any other.
 */
#include "api.h"

#include <stdlib.h>

#include "name.h"
#include "xalloc.h"

struct api_arriving {
    struct http_arrival arrival; /* first */
    struct store_early *early;   /* NULL: it has been taken */
};

static void on_used(void *context, struct slice part)
{
    http_arrival_used(&((struct api_arriving *)context)->arrival, part);
}

static void on_more(struct http_arrival *arrival, uint64_t bytes)
{
    store_early_more(((struct api_arriving *)arrival)->early, bytes);
}

static void on_gone(struct http_arrival *arrival)
{
    api_arriving_free((struct api_arriving *)arrival);
}

/* A condition that does not hold is better found before anything has been written. */
static bool is_plain_put(const struct http_request *request)
{
    static const char *const fields[] = {"x-copy-from", "if-match", "if-none-match", "if-modified-since",
                                         "if-unmodified-since"};
    size_t i;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (http_request_field(request, fields[i]).base != NULL)
            return false;
    return slice_is(http_request_method(request), "PUT") && http_request_query(request).base == NULL &&
           http_request_framing_problem(request) == NULL;
}

struct http_arrival *api_arrival(struct http_request *request, struct slice body, void *context)
{
    struct api *api = context;
    struct slice path = http_request_path(request);
    struct buffer name = {NULL, 0, 0};
    struct api_arriving *arriving;

    if (!is_plain_put(request) || !slice_starts_with(path, "/objects/") || body.len > api->file_size_max)
        return NULL;
    path.base += strlen("/objects/");
    path.len -= strlen("/objects/");
    arriving = xcalloc(1, sizeof(*arriving));
    arriving->arrival.more = on_more;
    arriving->arrival.gone = on_gone;
    if (percent_decode(path, PERCENT_PLUS_IS_PLUS, &name) && name_problem(buffer_slice(&name)) == NULL)
        arriving->early = store_early_begin(api->store, http_request_loop(request), buffer_slice(&name), body,
                                            on_used, arriving);
    buffer_free(&name);
    if (arriving->early != NULL)
        return &arriving->arrival;
    free(arriving);
    return NULL;
}

struct api_arriving *api_take_arriving(struct http_request *request)
{
    return (struct api_arriving *)http_request_arrival(request);
}

struct store_early *api_arriving_early(struct api_arriving *arriving)
{
    struct store_early *early = arriving->early;

    arriving->early = NULL;
    return early;
}

void api_arriving_free(struct api_arriving *arriving)
{
    if (arriving->early != NULL)
        store_early_drop(arriving->early);
    free(arriving);
}
