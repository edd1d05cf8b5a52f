/* GET /metrics in Prometheus' text format, and GET /healthz. Neither asks Ceph, but for /healthz?ready. */
#include "api.h"

#include <inttypes.h>
#include <stdlib.h>

#include "xalloc.h"

static void metric(struct buffer *to, const char *name, const char *type, const char *help)
{
    buffer_printf(to, "# HELP ceph_lb_backend_%s %s\n# TYPE ceph_lb_backend_%s %s\n", name, help, name, type);
}

static void single(struct buffer *to, const char *name, const char *type, const char *help, uint64_t value)
{
    metric(to, name, type, help);
    buffer_printf(to, "ceph_lb_backend_%s %" PRIu64 "\n", name, value);
}

static void render_requests(struct buffer *to, struct http_counters *http)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "POST", "DELETE", "other"};
    size_t i;

    metric(to, "requests_total", "counter", "Requests answered, by method.");
    for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        buffer_printf(to, "ceph_lb_backend_requests_total{method=\"%s\"} %" PRIu64 "\n", methods[i],
                      (uint64_t)atomic_load(&http->requests[i]));
    metric(to, "responses_total", "counter", "Responses, by the class of their status.");
    for (i = 2; i <= 5; i++)
        buffer_printf(to, "ceph_lb_backend_responses_total{class=\"%zuxx\"} %" PRIu64 "\n", i,
                      (uint64_t)atomic_load(&http->responses[i]));
}

void api_metrics(struct api *api, struct http_request *request)
{
    struct http_counters *http = http_server_counters(api->server);
    struct store_counters *store = &api->store->counters;
    struct buffer body = {NULL, 0, 0};

    metric(&body, "info", "gauge", "Always 1; the label says which version runs.");
    buffer_printf(&body, "ceph_lb_backend_info{version=\"%s\"} 1\n", CEPH_LB_VERSION);
    single(&body, "uptime_seconds", "gauge", "Since the start of the process.",
           (uint64_t)((clock_monotonic_ms() - api->started_ms) / 1000));
    single(&body, "ceph_connected", "gauge", "1 once the cluster has been reached.",
           cluster_is_ready(api->cluster));
    single(&body, "draining", "gauge", "1 while the backend is being stopped.", atomic_load(&api->draining));
    render_requests(&body, http);
    single(&body, "requests_active", "gauge", "Requests being answered now.",
           atomic_load(&http->requests_active));
    single(&body, "connections_open", "gauge", "Connections of clients.",
           atomic_load(&http->connections_open));
    single(&body, "connections_accepted_total", "counter", "Connections accepted.",
           atomic_load(&http->connections_accepted));
    single(&body, "received_bytes_total", "counter", "Bytes of request bodies.",
           atomic_load(&http->bytes_received));
    single(&body, "sent_bytes_total", "counter", "Bytes of response bodies.", atomic_load(&http->bytes_sent));
    single(&body, "rados_operations_total", "counter", "Asynchronous operations handed to RADOS.",
           atomic_load(&store->operations));
    single(&body, "rados_operations_failed_total", "counter", "Operations on RADOS that failed unexpectedly.",
           atomic_load(&store->operations_failed));
    single(&body, "rados_written_bytes_total", "counter", "Bytes of files written to RADOS.",
           atomic_load(&store->bytes_written));
    single(&body, "rados_read_bytes_total", "counter", "Bytes of files read from RADOS.",
           atomic_load(&store->bytes_read));

    single(&body, "damaged_total", "counter", "Stripes and heads that were not what had been written.",
           atomic_load(&api->store->counters.damaged));
    single(&body, "collector_walks_total", "counter", "Looks for content that is of no use any more.",
           atomic_load(&api->collector.walks));
    single(&body, "collector_stripes_removed_total", "counter", "Stripes removed by them.",
           atomic_load(&api->collector.stripes_removed));
    single(&body, "collector_uploads_given_up_total", "counter", "Unfinished uploads given up by them.",
           atomic_load(&api->collector.uploads_given_up));
    single(&body, "collector_files_expired_total", "counter",
           "Files removed by them since their time was over.", atomic_load(&api->collector.files_expired));
    single(&body, "index_entries_moved_total", "counter",
           "Changes moved from the index's journals to its shards.", atomic_load(&api->indexer.moved));
    single(&body, "index_repairs_total", "counter",
           "Index entries that did not say what the file's head did.", atomic_load(&api->indexer.repaired));
    single(&body, "scrubs_total", "counter",
           "Comparisons of all files with the index finished by this backend.",
           atomic_load(&api->indexer.scrubs));
    single(&body, "scrub_heads_total", "counter", "Files compared by them.",
           atomic_load(&api->indexer.scrub_heads));
    single(&body, "scrub_steps_done", "gauge", "How far the comparison under way on this backend is.",
           atomic_load(&api->indexer.scrub_step));
    single(&body, "scrub_steps", "gauge", "Of so many steps; 0 when there is none under way here.",
           atomic_load(&api->indexer.scrub_steps));

    http_add_field_text(request, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    http_respond(request, 200, buffer_slice(&body));
    buffer_free(&body);
}

/* ---- health ---- */

static void respond_healthy(struct http_request *request)
{
    http_add_field_text(request, "Content-Type", "text/plain; charset=utf-8");
    http_add_field_text(request, "Cache-Control", "no-store");
    http_respond(request, 200, SLICE_LITERAL("ok\n"));
}

struct readiness {
    struct store_probe probe; /* first */
    struct http_request *request;
};

static void on_probed(struct store_probe *probe)
{
    struct readiness *readiness = (struct readiness *)probe;

    if (probe->result == STORE_OK)
        respond_healthy(readiness->request);
    else
        problem_respond(readiness->request, problem_of_store_result(probe->result), NULL);
    free(readiness);
}

void api_health(struct api *api, struct http_request *request)
{
    struct readiness *readiness;
    struct slice query = http_request_query(request);

    if (query.base != NULL && !slice_is(query, "ready")) {
        problem_respond(request, PROBLEM_BAD_QUERY, "The query is either absent or ?ready.");
        return;
    }
    if (query.base == NULL) {
        respond_healthy(request);
        return;
    }
    if (atomic_load(&api->draining)) {
        problem_respond(request, PROBLEM_DRAINING, NULL);
        return;
    }
    readiness = xcalloc(1, sizeof(*readiness));
    readiness->request = request;
    readiness->probe.store = api->store;
    readiness->probe.home = http_request_loop(request);
    readiness->probe.done = on_probed;
    store_probe_begin(&readiness->probe);
}
