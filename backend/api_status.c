/* GET /status: the cluster's state, asked of the monitors by a worker and told in our own form. */
#include "api.h"

#include <errno.h>
#include <stdlib.h>

#include "xalloc.h"

struct status_job {
    struct job job; /* first */
    struct api *api;
    bool as_text;
};

static void status_job_free(struct job *job)
{
    free(job);
}

/* What the cluster says, parsed; NULL where it did not. */
struct cluster_report {
    yajl_val status, quorum, df;
};

static int ask_monitors(struct cluster *cluster, const char *command, yajl_val *parsed)
{
    struct buffer answer = {NULL, 0, 0};
    int error = cluster_monitor_command(cluster, command, &answer);
    char reason[128];

    if (error == 0) {
        buffer_append(&answer, "", 1);
        *parsed = yajl_tree_parse(answer.base, reason, sizeof(reason));
        error = *parsed != NULL ? 0 : -EBADMSG;
    }
    buffer_free(&answer);
    return error;
}

static int take_report(struct api *api, struct cluster_report *report)
{
    int error;

    *report = (struct cluster_report){0};
    error = ask_monitors(api->cluster, "{\"prefix\":\"status\",\"format\":\"json\"}", &report->status);
    if (error == 0)
        error =
            ask_monitors(api->cluster, "{\"prefix\":\"quorum_status\",\"format\":\"json\"}", &report->quorum);
    if (error == 0)
        error = ask_monitors(api->cluster, "{\"prefix\":\"df\",\"detail\":\"detail\",\"format\":\"json\"}",
                             &report->df);
    return error;
}

static void free_report(struct cluster_report *report)
{
    yajl_tree_free(report->status);
    yajl_tree_free(report->quorum);
    yajl_tree_free(report->df);
}

/* ---- as JSON ---- */

static void open_member_map(yajl_gen gen, const char *key)
{
    json_text(gen, key);
    yajl_gen_map_open(gen);
}

static void copy_number(yajl_gen gen, const char *key, yajl_val from, const char *path)
{
    json_member_number(gen, key, json_number_at(from, path, 0));
}

static void render_health(yajl_gen gen, yajl_val status)
{
    yajl_val checks = json_at(status, "health.checks");
    size_t i;

    open_member_map(gen, "health");
    json_member_text(gen, "status", json_text_at(status, "health.status", "unknown"));
    json_text(gen, "checks");
    yajl_gen_array_open(gen);
    for (i = 0; YAJL_IS_OBJECT(checks) && i < checks->u.object.len; i++) {
        yajl_val check = checks->u.object.values[i];
        yajl_gen_map_open(gen);
        json_member_text(gen, "name", checks->u.object.keys[i]);
        json_member_text(gen, "severity", json_text_at(check, "severity", ""));
        json_member_text(gen, "message", json_text_at(check, "summary.message", ""));
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);
    yajl_gen_map_close(gen);
}

static void render_quorum(yajl_gen gen, yajl_val quorum)
{
    yajl_val names = json_at(quorum, "quorum_names");
    size_t i;

    json_text(gen, "quorum");
    yajl_gen_array_open(gen);
    for (i = 0; YAJL_IS_ARRAY(names) && i < names->u.array.len; i++)
        json_string(gen, slice_of(YAJL_GET_STRING(names->u.array.values[i])));
    yajl_gen_array_close(gen);
    json_member_text(gen, "quorum_leader", json_text_at(quorum, "quorum_leader_name", ""));
}

static bool is_in_quorum(yajl_val quorum, const char *name)
{
    yajl_val names = json_at(quorum, "quorum_names");
    size_t i;

    for (i = 0; YAJL_IS_ARRAY(names) && i < names->u.array.len; i++)
        if (slice_is(slice_of(YAJL_GET_STRING(names->u.array.values[i])), name))
            return true;
    return false;
}

static void render_monitors(yajl_gen gen, yajl_val quorum)
{
    yajl_val monitors = json_at(quorum, "monmap.mons");
    size_t i;

    json_text(gen, "monitors");
    yajl_gen_array_open(gen);
    for (i = 0; YAJL_IS_ARRAY(monitors) && i < monitors->u.array.len; i++) {
        const char *name = json_text_at(monitors->u.array.values[i], "name", "");
        yajl_gen_map_open(gen);
        json_member_text(gen, "name", name);
        json_member_text(gen, "address", json_text_at(monitors->u.array.values[i], "public_addr", ""));
        json_text(gen, "in_quorum");
        yajl_gen_bool(gen, is_in_quorum(quorum, name));
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);
}

static void render_placement_groups(yajl_gen gen, yajl_val status)
{
    yajl_val states = json_at(status, "pgmap.pgs_by_state");
    size_t i;

    open_member_map(gen, "placement_groups");
    copy_number(gen, "total", status, "pgmap.num_pgs");
    open_member_map(gen, "by_state");
    for (i = 0; YAJL_IS_ARRAY(states) && i < states->u.array.len; i++)
        copy_number(gen, json_text_at(states->u.array.values[i], "state_name", ""), states->u.array.values[i],
                    "count");
    yajl_gen_map_close(gen);
    yajl_gen_map_close(gen);
}

/* What `ceph df detail` says of the pool; NULL while it does not know it yet. */
static yajl_val find_pool(yajl_val df, const char *name)
{
    yajl_val pools = json_at(df, "pools");
    size_t i;

    for (i = 0; YAJL_IS_ARRAY(pools) && i < pools->u.array.len; i++)
        if (strcmp(json_text_at(pools->u.array.values[i], "name", ""), name) == 0)
            return pools->u.array.values[i];
    return NULL;
}

static void render_pool(yajl_gen gen, const struct api *api, const struct cluster_report *report)
{
    const char *name = cluster_pool(api->cluster);
    yajl_val pool = find_pool(report->df, name);

    open_member_map(gen, "pool");
    json_member_text(gen, "name", name);
    copy_number(gen, "objects", pool, "stats.objects");
    copy_number(gen, "bytes", pool, "stats.stored");
    copy_number(gen, "reads", pool, "stats.rd");
    copy_number(gen, "writes", pool, "stats.wr");
    copy_number(gen, "available_bytes", pool, "stats.max_avail");
    yajl_gen_map_close(gen);
}

static int64_t sum(const atomic_uint_fast64_t *counters, size_t count)
{
    uint64_t total = 0;
    size_t i;

    for (i = 0; i < count; i++)
        total += atomic_load(&counters[i]);
    return (int64_t)total;
}

static void render_backend(yajl_gen gen, const struct api *api)
{
    const struct http_counters *http = http_server_counters(api->server);
    const struct store_counters *store = &api->store->counters;

    open_member_map(gen, "backend");
    json_member_text(gen, "name", api->backend_name);
    json_member_text(gen, "version", CEPH_LB_VERSION);
    json_member_number(gen, "uptime_seconds", (clock_monotonic_ms() - api->started_ms) / 1000);
    json_member_number(gen, "requests",
                       sum(http->requests, sizeof(http->requests) / sizeof(http->requests[0])));
    json_member_number(gen, "requests_active", sum(&http->requests_active, 1));
    json_member_number(gen, "server_errors", sum(&http->responses[5], 1));
    json_member_number(gen, "connections_open", sum(&http->connections_open, 1));
    json_member_number(gen, "bytes_received", sum(&http->bytes_received, 1));
    json_member_number(gen, "bytes_sent", sum(&http->bytes_sent, 1));
    json_member_number(gen, "rados_operations", sum(&store->operations, 1));
    json_member_number(gen, "rados_operations_failed", sum(&store->operations_failed, 1));
    json_member_number(gen, "damaged", sum(&store->damaged, 1));
    open_member_map(gen, "index");
    json_member_number(gen, "entries_moved", sum(&api->indexer.moved, 1));
    json_member_number(gen, "repairs", sum(&api->indexer.repaired, 1));
    json_member_number(gen, "scrubs", sum(&api->indexer.scrubs, 1));
    json_member_number(gen, "scrub_heads", sum(&api->indexer.scrub_heads, 1));
    json_member_number(gen, "scrub_steps_done", sum(&api->indexer.scrub_step, 1));
    json_member_number(gen, "scrub_steps", sum(&api->indexer.scrub_steps, 1));
    yajl_gen_map_close(gen);
    yajl_gen_map_close(gen);
}

static void render_json(struct api *api, const struct cluster_report *report, struct buffer *to)
{
    yajl_gen gen = json_begin();

    yajl_gen_map_open(gen);
    json_member_text(gen, "fsid", cluster_fsid(api->cluster));
    render_health(gen, report->status);
    render_monitors(gen, report->quorum);
    render_quorum(gen, report->quorum);
    open_member_map(gen, "osds");
    copy_number(gen, "total", report->status, "osdmap.num_osds");
    copy_number(gen, "up", report->status, "osdmap.num_up_osds");
    copy_number(gen, "in", report->status, "osdmap.num_in_osds");
    yajl_gen_map_close(gen);
    render_placement_groups(gen, report->status);
    open_member_map(gen, "capacity");
    copy_number(gen, "total_bytes", report->df, "stats.total_bytes");
    copy_number(gen, "used_bytes", report->df, "stats.total_used_raw_bytes");
    copy_number(gen, "available_bytes", report->df, "stats.total_avail_bytes");
    yajl_gen_map_close(gen);
    render_pool(gen, api, report);
    render_backend(gen, api);
    yajl_gen_map_close(gen);
    json_finish(gen, to);
}

/* ---- as text: the same, flattened to a line a value ---- */

#define DEPTH_MAX 8

static void flatten(yajl_val node, const char *path, unsigned depth, struct buffer *to)
{
    struct buffer below = {NULL, 0, 0};
    size_t i;

    if (depth == DEPTH_MAX)
        return;
    if (YAJL_IS_OBJECT(node)) {
        for (i = 0; i < node->u.object.len; i++) {
            below.len = 0;
            buffer_printf(&below, "%s%s%s", path, path[0] != '\0' ? "." : "", node->u.object.keys[i]);
            flatten(node->u.object.values[i], below.base, depth + 1, to);
        }
    } else if (YAJL_IS_ARRAY(node)) {
        for (i = 0; i < node->u.array.len; i++) {
            below.len = 0;
            buffer_printf(&below, "%s.%zu", path, i);
            flatten(node->u.array.values[i], below.base, depth + 1, to);
        }
    } else if (YAJL_IS_STRING(node)) {
        buffer_printf(to, "%s : %s\n", path, YAJL_GET_STRING(node));
    } else if (YAJL_IS_NUMBER(node)) {
        buffer_printf(to, "%s : %s\n", path, YAJL_GET_NUMBER(node));
    } else {
        buffer_printf(to, "%s : %s\n", path, YAJL_IS_TRUE(node) ? "true" : "false");
    }
    buffer_free(&below);
}

static void flatten_json(struct buffer *body)
{
    char reason[128];
    yajl_val tree = yajl_tree_parse(body->base, reason, sizeof(reason));

    body->len = 0;
    flatten(tree, "", 0, body);
    yajl_tree_free(tree);
}

static struct answer *run_status(struct job *base)
{
    struct status_job *job = (struct status_job *)base;
    struct rendered *rendered = rendered_new(job->as_text);
    struct cluster_report report;
    int error = take_report(job->api, &report);

    if (error < 0) {
        rendered->result =
            store_result_of_errno(job->api->store, error, "cannot ask the monitors about", "status");
    } else {
        render_json(job->api, &report, &rendered->body);
        if (job->as_text)
            flatten_json(&rendered->body);
    }
    free_report(&report);
    return &rendered->answer;
}

void api_status(struct api *api, struct http_request *request)
{
    struct status_job *job = xcalloc(1, sizeof(*job));

    job->as_text = http_request_wants_text(request);
    job->job.key = job->as_text ? "status text" : "status json";
    job->job.run = run_status;
    job->job.free = status_job_free;
    job->api = api;
    api_respond_from_worker(api, request, &job->job);
}
