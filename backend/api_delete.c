#include "api.h"

#include <stdlib.h>

#include "xalloc.h"

struct deletion {
    struct store_delete operation; /* first */
    struct http_request *request;
    char name[];
};

static void on_done(struct store_delete *operation)
{
    struct deletion *deletion = (struct deletion *)operation;

    if (operation->result == STORE_OK)
        http_respond_empty(deletion->request, 204, SIZE_MAX);
    else
        problem_respond(deletion->request, problem_of_store_result(operation->result), NULL);
    free(deletion);
}

void api_delete(struct api *api, struct http_request *request, struct slice name)
{
    struct deletion *deletion;
    struct conditions conditions;

    if (!api_take_conditions(request, &conditions))
        return;
    deletion = xcalloc(1, sizeof(*deletion) + name.len + 1);
    memcpy(deletion->name, name.base, name.len);
    deletion->request = request;
    deletion->operation.store = api->store;
    deletion->operation.home = http_request_loop(request);
    deletion->operation.name = (struct slice){deletion->name, name.len};
    deletion->operation.conditions = conditions;
    deletion->operation.wish = api_wish(request);
    deletion->operation.done = on_done;
    store_delete_begin(&deletion->operation);
}
