#include "ngx_http_ceph_lb_status_render.h"

/* A number in a structure: its name, where it is, and its decimals. */
typedef struct {
    const char *name;
    size_t      offset;
    ngx_uint_t  decimals;
} ngx_http_ceph_lb_json_number_t;

static void ngx_http_ceph_lb_json_upstream(
    ngx_http_ceph_lb_output_t                *out,
    const ngx_http_ceph_lb_status_upstream_t *u);
static void ngx_http_ceph_lb_json_trouble(
    ngx_http_ceph_lb_output_t                *out,
    const ngx_http_ceph_lb_status_upstream_t *u);
static void ngx_http_ceph_lb_json_backend(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_backend_t *b);
static void ngx_http_ceph_lb_json_open(
    ngx_http_ceph_lb_output_t *out, const char *name, const char *bracket);
static void ngx_http_ceph_lb_json_close(
    ngx_http_ceph_lb_output_t *out, const char *bracket);
static void
ngx_http_ceph_lb_json_name(ngx_http_ceph_lb_output_t *out, const char *name);
static void ngx_http_ceph_lb_json_text(
    ngx_http_ceph_lb_output_t *out, const char *name, const ngx_str_t *text);
static void ngx_http_ceph_lb_json_text_or_null(
    ngx_http_ceph_lb_output_t *out, const char *name, const ngx_str_t *text);
static void ngx_http_ceph_lb_json_truth(
    ngx_http_ceph_lb_output_t *out, const char *name, uint64_t truth);
static void ngx_http_ceph_lb_json_numbers(
    ngx_http_ceph_lb_output_t            *out,
    const ngx_http_ceph_lb_json_number_t *numbers,
    const void                           *structure);

#define UPSTREAM(field) offsetof(ngx_http_ceph_lb_status_upstream_t, field)
#define REPORT(field)   offsetof(ceph_lb_report_t, field)

static const ngx_http_ceph_lb_json_number_t ngx_http_ceph_lb_json_settings[] = {
    {"max_fails", UPSTREAM(max_fails), 0},
    {"fail_timeout_seconds", UPSTREAM(fail_timeout_ms), 3},
    {"slow_start_seconds", UPSTREAM(slow_start_ms), 3},
    {"stale_seconds", UPSTREAM(stale_ms), 3},
    {NULL, 0, 0}};

static const ngx_http_ceph_lb_json_number_t ngx_http_ceph_lb_json_list[] = {
    {"age_seconds", UPSTREAM(age_ms), 3},
    {"usable", UPSTREAM(usable), 0},
    {"total", UPSTREAM(total), 0},
    {NULL, 0, 0}};

static const ngx_http_ceph_lb_json_number_t
    ngx_http_ceph_lb_json_trouble_age[] = {
        {"seconds", UPSTREAM(trouble_ms), 3}, {NULL, 0, 0}};

static const ngx_http_ceph_lb_json_number_t ngx_http_ceph_lb_json_counters[] = {
    {"flights", UPSTREAM(flights), 0},
    {"passengers", UPSTREAM(passengers), 0},
    {"requests_per_flight", UPSTREAM(passengers_per_flight), 3},
    {"query_ms_total", UPSTREAM(query_us), 3},
    {"query_ms_mean", UPSTREAM(query_us_mean), 3},
    {"query_ms_max", UPSTREAM(query_us_max), 3},
    {"errors", UPSTREAM(errors), 0},
    {"stale", UPSTREAM(stale), 0},
    {"without", UPSTREAM(without), 0},
    {"changes", UPSTREAM(changes), 0},
    {"unavailable", UPSTREAM(unavailable), 0},
    {NULL, 0, 0}};

static const ngx_http_ceph_lb_json_number_t ngx_http_ceph_lb_json_report[] = {
    {"weight", REPORT(weight), 0},
    {"max_conns", REPORT(max_conns), 0},
    {"retry_seconds", REPORT(wait_ms), 3},
    {"warmth_percent", REPORT(warmth_percent), 0},
    {"connections", REPORT(connections), 0},
    {"requests", REPORT(requests), 0},
    {"failures", REPORT(failures), 0},
    {"last_failure_seconds", REPORT(failed_ms), 3},
    {"latency_ms", REPORT(latency_us), 3},
    {NULL, 0, 0}};

static const ngx_http_ceph_lb_json_number_t ngx_http_ceph_lb_json_pid[] = {
    {"worker_pid", offsetof(ngx_http_ceph_lb_status_t, pid), 0}, {NULL, 0, 0}};

void
ngx_http_ceph_lb_status_json(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    ngx_uint_t i;

    ngx_http_ceph_lb_json_open(out, NULL, "{");
    ngx_http_ceph_lb_json_text(out, "generated", &status->generated);
    ngx_http_ceph_lb_json_numbers(out, ngx_http_ceph_lb_json_pid, status);
    ngx_http_ceph_lb_json_text(out, "nginx_version", &status->server_version);
    ngx_http_ceph_lb_json_text(out, "module_version", &status->module_version);

    ngx_http_ceph_lb_json_open(out, "upstreams", "[");

    for (i = 0; i < status->count; i++) {
        ngx_http_ceph_lb_json_upstream(out, &status->upstreams[i]);
    }

    ngx_http_ceph_lb_json_close(out, "]");
    ngx_http_ceph_lb_json_close(out, "}");
    ngx_http_ceph_lb_put(out, "\n");
}

static void
ngx_http_ceph_lb_json_upstream(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_upstream_t *u)
{
    ngx_uint_t i;

    ngx_http_ceph_lb_json_open(out, NULL, "{");
    ngx_http_ceph_lb_json_text(out, "name", &u->name);
    ngx_http_ceph_lb_json_text(out, "registry", &u->registry);
    ngx_http_ceph_lb_json_text(out, "method", &u->method);
    ngx_http_ceph_lb_json_text_or_null(out, "key", &u->key);
    ngx_http_ceph_lb_json_text(out, "zone", &u->zone);
    ngx_http_ceph_lb_json_truth(out, "degraded", u->degraded);
    ngx_http_ceph_lb_json_text_or_null(out, "prefer_zone", &u->prefer_zone);
    ngx_http_ceph_lb_json_numbers(out, ngx_http_ceph_lb_json_settings, u);

    ngx_http_ceph_lb_json_open(out, "list", "{");
    ngx_http_ceph_lb_json_text(
        out, "state", ngx_http_ceph_lb_list_state_word(u->list_state));
    ngx_http_ceph_lb_json_numbers(out, ngx_http_ceph_lb_json_list, u);
    ngx_http_ceph_lb_json_trouble(out, u);
    ngx_http_ceph_lb_json_close(out, "}");

    ngx_http_ceph_lb_json_open(out, "counters", "{");
    ngx_http_ceph_lb_json_numbers(out, ngx_http_ceph_lb_json_counters, u);
    ngx_http_ceph_lb_json_close(out, "}");

    ngx_http_ceph_lb_json_open(out, "backends", "[");

    for (i = 0; i < u->total; i++) {
        ngx_http_ceph_lb_json_backend(out, &u->backends[i]);
    }

    ngx_http_ceph_lb_json_close(out, "]");
    ngx_http_ceph_lb_json_close(out, "}");
}

static void
ngx_http_ceph_lb_json_trouble(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_upstream_t *u)
{
    if (!u->troubled) {
        ngx_http_ceph_lb_json_name(out, "trouble");
        ngx_http_ceph_lb_put(out, "null");
        return;
    }

    ngx_http_ceph_lb_json_open(out, "trouble", "{");
    ngx_http_ceph_lb_json_text(out, "registry", &u->trouble);
    ngx_http_ceph_lb_json_text(out, "error", &u->error);
    ngx_http_ceph_lb_json_numbers(out, ngx_http_ceph_lb_json_trouble_age, u);
    ngx_http_ceph_lb_json_close(out, "}");
}

static void
ngx_http_ceph_lb_json_backend(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_backend_t *b)
{
    ngx_http_ceph_lb_json_open(out, NULL, "{");
    ngx_http_ceph_lb_json_text(out, "address", &b->address);
    ngx_http_ceph_lb_json_text_or_null(out, "zone", &b->zone);
    ngx_http_ceph_lb_json_text(out, "state", &b->row_state);
    ngx_http_ceph_lb_json_text(out, "condition", &b->condition);
    ngx_http_ceph_lb_json_truth(out, "backup", b->report.backup);
    ngx_http_ceph_lb_json_numbers(
        out, ngx_http_ceph_lb_json_report, &b->report);
    ngx_http_ceph_lb_json_close(out, "}");
}

/* In an array, and around all of it, there are no names. */
static void
ngx_http_ceph_lb_json_open(
    ngx_http_ceph_lb_output_t *out, const char *name, const char *bracket)
{
    if (name != NULL) {
        ngx_http_ceph_lb_json_name(out, name);

    } else if (out->continued) {
        ngx_http_ceph_lb_put(out, ",");
    }

    ngx_http_ceph_lb_put(out, bracket);
    out->continued = 0;
}

static void
ngx_http_ceph_lb_json_close(ngx_http_ceph_lb_output_t *out, const char *bracket)
{
    ngx_http_ceph_lb_put(out, bracket);
    out->continued = 1;
}

static void
ngx_http_ceph_lb_json_name(ngx_http_ceph_lb_output_t *out, const char *name)
{
    ngx_http_ceph_lb_print(out, "%s\"%s\":", out->continued ? "," : "", name);
    out->continued = 1;
}

static void
ngx_http_ceph_lb_json_text(
    ngx_http_ceph_lb_output_t *out, const char *name, const ngx_str_t *text)
{
    ngx_http_ceph_lb_json_name(out, name);
    ngx_http_ceph_lb_put_quoted(out, text);
}

static void
ngx_http_ceph_lb_json_text_or_null(
    ngx_http_ceph_lb_output_t *out, const char *name, const ngx_str_t *text)
{
    if (text->len > 0) {
        ngx_http_ceph_lb_json_text(out, name, text);
        return;
    }

    ngx_http_ceph_lb_json_name(out, name);
    ngx_http_ceph_lb_put(out, "null");
}

static void
ngx_http_ceph_lb_json_truth(
    ngx_http_ceph_lb_output_t *out, const char *name, uint64_t truth)
{
    ngx_http_ceph_lb_json_name(out, name);
    ngx_http_ceph_lb_put(out, truth ? "true" : "false");
}

static void
ngx_http_ceph_lb_json_numbers(
    ngx_http_ceph_lb_output_t            *out,
    const ngx_http_ceph_lb_json_number_t *numbers,
    const void                           *structure)
{
    uint64_t                              n;
    const ngx_http_ceph_lb_json_number_t *number;

    for (number = numbers; number->name != NULL; number++) {
        n = *(const uint64_t *) ((const u_char *) structure + number->offset);

        ngx_http_ceph_lb_json_name(out, number->name);

        if (n == CEPH_LB_NONE) {
            ngx_http_ceph_lb_put(out, "null");

        } else {
            ngx_http_ceph_lb_put_decimal(out, n, number->decimals);
        }
    }
}
