#include "ngx_http_ceph_lb_status_render.h"

/* What is said of each upstream, or of each backend, in one number. */
typedef struct {
    const char *name; /* "ceph_lb_" stands before it */
    const char *type;
    const char *help;
    size_t      offset;
    ngx_uint_t  decimals;
} ngx_http_ceph_lb_metric_t;

static void ngx_http_ceph_lb_prometheus_process(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);
static void ngx_http_ceph_lb_prometheus_infos(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);
static void ngx_http_ceph_lb_prometheus_states(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);
static void ngx_http_ceph_lb_prometheus_upstreams(
    ngx_http_ceph_lb_output_t       *out,
    const ngx_http_ceph_lb_status_t *status,
    const ngx_http_ceph_lb_metric_t *metric);
static void ngx_http_ceph_lb_prometheus_backend_infos(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);
static void ngx_http_ceph_lb_prometheus_conditions(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);
static void ngx_http_ceph_lb_prometheus_backends(
    ngx_http_ceph_lb_output_t       *out,
    const ngx_http_ceph_lb_status_t *status,
    const ngx_http_ceph_lb_metric_t *metric);
static void ngx_http_ceph_lb_prometheus_head(
    ngx_http_ceph_lb_output_t *out,
    const char                *name,
    const char                *type,
    const char                *help);
static void ngx_http_ceph_lb_prometheus_name(
    ngx_http_ceph_lb_output_t                *out,
    const char                               *name,
    const ngx_http_ceph_lb_status_upstream_t *u,
    const ngx_http_ceph_lb_status_backend_t  *b);
static void ngx_http_ceph_lb_prometheus_label(
    ngx_http_ceph_lb_output_t *out, const char *name, const ngx_str_t *value);
static uint64_t
ngx_http_ceph_lb_prometheus_number(const void *structure, size_t offset);

#define UPSTREAM(field) offsetof(ngx_http_ceph_lb_status_upstream_t, field)
#define BACKEND(field)  offsetof(ngx_http_ceph_lb_status_backend_t, report.field)

static const ngx_http_ceph_lb_metric_t ngx_http_ceph_lb_upstream_metrics[] = {

    {"upstream_degraded", "gauge",
     "1 if this worker counts by itself, since the shared memory has no room.",
     UPSTREAM(degraded), 0},
    {"upstream_max_fails", "gauge",
     "Failures after which a backend is avoided; 0: never.",
     UPSTREAM(max_fails), 0},
    {"upstream_fail_timeout_seconds", "gauge",
     "For how long a failed backend is avoided.", UPSTREAM(fail_timeout_ms), 3},
    {"upstream_slow_start_seconds", "gauge",
     "For how long a backend that comes gets less than its share; 0: not.",
     UPSTREAM(slow_start_ms), 3},
    {"upstream_stale_limit_seconds", "gauge",
     "For how long the last list may serve; 0: not.", UPSTREAM(stale_ms), 3},

    {"upstream_list_age_seconds", "gauge",
     "Since the query for the newest list of this worker.", UPSTREAM(age_ms),
     3},
    {"upstream_backends", "gauge", "Backends that stand in the newest list.",
     UPSTREAM(total), 0},
    {"upstream_backends_usable", "gauge",
     "Those of them that may get requests.", UPSTREAM(usable), 0},
    {"upstream_trouble", "gauge",
     "1 while this worker gets no list from the registry.", UPSTREAM(troubled),
     0},
    {"upstream_trouble_seconds", "gauge", "For how long that has been so.",
     UPSTREAM(trouble_ms), 3},

    {"upstream_flights_total", "counter", "Queries that brought a list.",
     UPSTREAM(flights), 0},
    {"upstream_passengers_total", "counter",
     "Requests that got a list from them.", UPSTREAM(passengers), 0},
    {"upstream_query_seconds_total", "counter", "Time that they took.",
     UPSTREAM(query_us), 6},
    {"upstream_query_seconds_max", "gauge", "The longest of them.",
     UPSTREAM(query_us_max), 6},
    {"upstream_errors_total", "counter",
     "Queries and connections to the registry that failed.", UPSTREAM(errors),
     0},
    {"upstream_stale_total", "counter", "Requests that got the last list.",
     UPSTREAM(stale), 0},
    {"upstream_without_total", "counter", "Requests that got no list.",
     UPSTREAM(without), 0},
    {"upstream_changes_total", "counter",
     "Lists that differed from the one before, of each worker.",
     UPSTREAM(changes), 0},
    {"upstream_unavailable_total", "counter",
     "Requests that found no backend to try.", UPSTREAM(unavailable), 0},

    {NULL, NULL, NULL, 0, 0}};

static const ngx_http_ceph_lb_metric_t ngx_http_ceph_lb_backend_metrics[] = {

    {"upstream_backend_weight", "gauge", "Its share, by the table.",
     BACKEND(weight), 0},
    {"upstream_backend_backup", "gauge",
     "1 if it gets requests only when no other one can.", BACKEND(backup), 0},
    {"upstream_backend_max_conns", "gauge",
     "Most requests that it may have at a time; 0: no limit.",
     BACKEND(max_conns), 0},
    {"upstream_backend_warmth_ratio", "gauge",
     "The part of its weight that it has; below 1 while it starts slowly.",
     BACKEND(warmth_percent), 2},
    {"upstream_backend_retry_seconds", "gauge",
     "Until it is tried again, of one that failed or rests.", BACKEND(wait_ms),
     3},
    {"upstream_backend_connections", "gauge", "Requests that it has now.",
     BACKEND(connections), 0},
    {"upstream_backend_requests_total", "counter",
     "Requests that were passed to it, each try counted.", BACKEND(requests),
     0},
    {"upstream_backend_failures_total", "counter", "Those that failed.",
     BACKEND(failures), 0},
    {"upstream_backend_last_failure_seconds", "gauge",
     "Since its last failure.", BACKEND(failed_ms), 3},
    {"upstream_backend_latency_seconds", "gauge",
     "Until its answers begin, a moving average.", BACKEND(latency_us), 6},

    {NULL, NULL, NULL, 0, 0}};

void
ngx_http_ceph_lb_status_prometheus(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    const ngx_http_ceph_lb_metric_t *metric;

    ngx_http_ceph_lb_prometheus_process(out, status);
    ngx_http_ceph_lb_prometheus_infos(out, status);
    ngx_http_ceph_lb_prometheus_states(out, status);

    for (metric = ngx_http_ceph_lb_upstream_metrics; metric->name; metric++) {
        ngx_http_ceph_lb_prometheus_upstreams(out, status, metric);
    }

    ngx_http_ceph_lb_prometheus_backend_infos(out, status);
    ngx_http_ceph_lb_prometheus_conditions(out, status);

    for (metric = ngx_http_ceph_lb_backend_metrics; metric->name; metric++) {
        ngx_http_ceph_lb_prometheus_backends(out, status, metric);
    }
}

static void
ngx_http_ceph_lb_prometheus_process(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    ngx_http_ceph_lb_prometheus_head(
        out, "info", "gauge", "Always 1; the labels say which versions run.");
    ngx_http_ceph_lb_put(out, "ceph_lb_info{version=");
    ngx_http_ceph_lb_put_quoted(out, &status->module_version);
    ngx_http_ceph_lb_prometheus_label(out, "nginx", &status->server_version);
    ngx_http_ceph_lb_put(out, "} 1\n");

    ngx_http_ceph_lb_prometheus_head(
        out, "worker_pid", "gauge", "Which of nginx's workers has answered.");
    ngx_http_ceph_lb_print(out, "ceph_lb_worker_pid %uL\n", status->pid);

    ngx_http_ceph_lb_prometheus_head(
        out, "generated_timestamp_seconds", "gauge",
        "When it did, by its own clock.");
    ngx_http_ceph_lb_put(out, "ceph_lb_generated_timestamp_seconds ");
    ngx_http_ceph_lb_put_decimal(out, status->generated_ms, 3);
    ngx_http_ceph_lb_put(out, "\n");
}

static void
ngx_http_ceph_lb_prometheus_infos(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    ngx_uint_t                                i;
    const ngx_http_ceph_lb_status_upstream_t *u;

    ngx_http_ceph_lb_prometheus_head(
        out, "upstream_info", "gauge",
        "Always 1; the labels say how the upstream is configured.");

    for (i = 0; i < status->count; i++) {
        u = &status->upstreams[i];

        ngx_http_ceph_lb_prometheus_name(out, "upstream_info", u, NULL);
        ngx_http_ceph_lb_prometheus_label(out, "registry", &u->registry);
        ngx_http_ceph_lb_prometheus_label(out, "method", &u->method);
        ngx_http_ceph_lb_prometheus_label(out, "key", &u->key);
        ngx_http_ceph_lb_prometheus_label(out, "zone", &u->zone);
        ngx_http_ceph_lb_prometheus_label(out, "prefer_zone", &u->prefer_zone);
        ngx_http_ceph_lb_put(out, "} 1\n");
    }
}

/* All states of each, one of them with 1. */
static void
ngx_http_ceph_lb_prometheus_states(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    ngx_uint_t                                i;
    ngx_http_ceph_lb_list_state_e             state;
    const ngx_http_ceph_lb_status_upstream_t *u;

    ngx_http_ceph_lb_prometheus_head(
        out, "upstream_list_state", "gauge",
        "Which list the next request of this worker gets: one has 1.");

    for (i = 0; i < status->count; i++) {
        u = &status->upstreams[i];

        for (state = NGX_HTTP_CEPH_LB_LIST_FRESH;
             state <= NGX_HTTP_CEPH_LB_LIST_NONE; state++)
        {
            ngx_http_ceph_lb_prometheus_name(
                out, "upstream_list_state", u, NULL);
            ngx_http_ceph_lb_prometheus_label(
                out, "state", ngx_http_ceph_lb_list_state_word(state));
            ngx_http_ceph_lb_put(
                out, state == u->list_state ? "} 1\n" : "} 0\n");
        }
    }
}

static void
ngx_http_ceph_lb_prometheus_upstreams(
    ngx_http_ceph_lb_output_t       *out,
    const ngx_http_ceph_lb_status_t *status,
    const ngx_http_ceph_lb_metric_t *metric)
{
    uint64_t                                  n;
    ngx_uint_t                                i;
    const ngx_http_ceph_lb_status_upstream_t *u;

    ngx_http_ceph_lb_prometheus_head(
        out, metric->name, metric->type, metric->help);

    for (i = 0; i < status->count; i++) {
        u = &status->upstreams[i];
        n = ngx_http_ceph_lb_prometheus_number(u, metric->offset);

        if (n == CEPH_LB_NONE) {
            continue;
        }

        ngx_http_ceph_lb_prometheus_name(out, metric->name, u, NULL);
        ngx_http_ceph_lb_put(out, "} ");
        ngx_http_ceph_lb_put_decimal(out, n, metric->decimals);
        ngx_http_ceph_lb_put(out, "\n");
    }
}

static void
ngx_http_ceph_lb_prometheus_backend_infos(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    ngx_uint_t                                i, n;
    const ngx_http_ceph_lb_status_backend_t  *b;
    const ngx_http_ceph_lb_status_upstream_t *u;

    ngx_http_ceph_lb_prometheus_head(
        out, "upstream_backend_info", "gauge",
        "Always 1; the labels are what the table says of the backend.");

    for (i = 0; i < status->count; i++) {
        u = &status->upstreams[i];

        for (n = 0; n < u->total; n++) {
            b = &u->backends[n];

            ngx_http_ceph_lb_prometheus_name(
                out, "upstream_backend_info", u, b);
            ngx_http_ceph_lb_prometheus_label(out, "state", &b->row_state);
            ngx_http_ceph_lb_prometheus_label(out, "zone", &b->zone);
            ngx_http_ceph_lb_put(out, "} 1\n");
        }
    }
}

/* Only the one that each has: a thousand backends are lines enough. */
static void
ngx_http_ceph_lb_prometheus_conditions(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    ngx_uint_t                                i, n;
    const ngx_http_ceph_lb_status_backend_t  *b;
    const ngx_http_ceph_lb_status_upstream_t *u;

    ngx_http_ceph_lb_prometheus_head(
        out, "upstream_backend_condition", "gauge",
        "Always 1; the label says how the backend is.");

    for (i = 0; i < status->count; i++) {
        u = &status->upstreams[i];

        for (n = 0; n < u->total; n++) {
            b = &u->backends[n];

            ngx_http_ceph_lb_prometheus_name(
                out, "upstream_backend_condition", u, b);
            ngx_http_ceph_lb_prometheus_label(out, "condition", &b->condition);
            ngx_http_ceph_lb_put(out, "} 1\n");
        }
    }
}

static void
ngx_http_ceph_lb_prometheus_backends(
    ngx_http_ceph_lb_output_t       *out,
    const ngx_http_ceph_lb_status_t *status,
    const ngx_http_ceph_lb_metric_t *metric)
{
    uint64_t                                  number;
    ngx_uint_t                                i, n;
    const ngx_http_ceph_lb_status_backend_t  *b;
    const ngx_http_ceph_lb_status_upstream_t *u;

    ngx_http_ceph_lb_prometheus_head(
        out, metric->name, metric->type, metric->help);

    for (i = 0; i < status->count; i++) {
        u = &status->upstreams[i];

        for (n = 0; n < u->total; n++) {
            b = &u->backends[n];
            number = ngx_http_ceph_lb_prometheus_number(b, metric->offset);

            if (number == CEPH_LB_NONE) {
                continue;
            }

            ngx_http_ceph_lb_prometheus_name(out, metric->name, u, b);
            ngx_http_ceph_lb_put(out, "} ");
            ngx_http_ceph_lb_put_decimal(out, number, metric->decimals);
            ngx_http_ceph_lb_put(out, "\n");
        }
    }
}

static void
ngx_http_ceph_lb_prometheus_head(
    ngx_http_ceph_lb_output_t *out,
    const char                *name,
    const char                *type,
    const char                *help)
{
    ngx_http_ceph_lb_print(
        out, "# HELP ceph_lb_%s %s\n# TYPE ceph_lb_%s %s\n", name, help, name,
        type);
}

/* Name and labels, up to where others may follow. */
static void
ngx_http_ceph_lb_prometheus_name(
    ngx_http_ceph_lb_output_t                *out,
    const char                               *name,
    const ngx_http_ceph_lb_status_upstream_t *u,
    const ngx_http_ceph_lb_status_backend_t  *b)
{
    ngx_http_ceph_lb_print(out, "ceph_lb_%s{upstream=", name);
    ngx_http_ceph_lb_put_quoted(out, &u->name);

    if (b != NULL) {
        ngx_http_ceph_lb_prometheus_label(out, "backend", &b->address);
    }
}

static void
ngx_http_ceph_lb_prometheus_label(
    ngx_http_ceph_lb_output_t *out, const char *name, const ngx_str_t *value)
{
    ngx_http_ceph_lb_print(out, ",%s=", name);
    ngx_http_ceph_lb_put_quoted(out, value);
}

static uint64_t
ngx_http_ceph_lb_prometheus_number(const void *structure, size_t offset)
{
    return *(const uint64_t *) ((const u_char *) structure + offset);
}
