#include "ngx_http_ceph_lb_status_html.h"

static void ngx_http_ceph_lb_html_list(
    ngx_http_ceph_lb_output_t                *out,
    const ngx_http_ceph_lb_status_upstream_t *u);
static void ngx_http_ceph_lb_html_counters(
    ngx_http_ceph_lb_output_t                *out,
    const ngx_http_ceph_lb_status_upstream_t *u);
static void ngx_http_ceph_lb_html_settings(
    ngx_http_ceph_lb_output_t                *out,
    const ngx_http_ceph_lb_status_upstream_t *u);
static void ngx_http_ceph_lb_html_backends(
    ngx_http_ceph_lb_output_t                *out,
    const ngx_http_ceph_lb_status_upstream_t *u);
static void ngx_http_ceph_lb_html_backend(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_backend_t *b);
static void ngx_http_ceph_lb_html_condition(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_backend_t *b);
static void
ngx_http_ceph_lb_html_card(ngx_http_ceph_lb_output_t *out, const char *title);
static void ngx_http_ceph_lb_html_fact(
    ngx_http_ceph_lb_output_t *out,
    const char                *name,
    uint64_t                   n,
    ngx_uint_t                 decimals);
static void ngx_http_ceph_lb_html_fact_text(
    ngx_http_ceph_lb_output_t *out, const char *name, const ngx_str_t *text);
static void ngx_http_ceph_lb_html_fact_time(
    ngx_http_ceph_lb_output_t *out,
    const char                *name,
    uint64_t                   ms,
    const char                *zero);
static void ngx_http_ceph_lb_html_cell(
    ngx_http_ceph_lb_output_t *out, uint64_t n, ngx_uint_t decimals);
static void ngx_http_ceph_lb_html_number(
    ngx_http_ceph_lb_output_t *out, uint64_t n, ngx_uint_t decimals);
static void ngx_http_ceph_lb_html_text(
    ngx_http_ceph_lb_output_t *out, const ngx_str_t *text);
static uint64_t ngx_http_ceph_lb_html_hundredths_of_ms(uint64_t us);

/* Where there is nothing to be said. */
#define NOTHING "\xe2\x80\x93"

/* The columns, and the class of what is in them. */
static const struct {
    const char *name;
    const char *class;
} ngx_http_ceph_lb_html_columns[] = {
    {"Backend", "t"},     {"Condition", "w"}, {"Connections", "n"},
    {"Requests", "n"},    {"Failures", "n"},  {"Last failure", "n"},
    {"Latency, ms", "n"}, {"Weight", "n"},    {"Most connections", "n"},
    {"State", "w"},       {"Zone", "t"},
};

#define NGX_HTTP_CEPH_LB_HTML_COLUMNS                                          \
    (sizeof(ngx_http_ceph_lb_html_columns)                                     \
     / sizeof(ngx_http_ceph_lb_html_columns[0]))

static const char *const ngx_http_ceph_lb_html_condition_classes[] = {
    [CEPH_LB_IS_READY] = "good",   [CEPH_LB_IS_STARTING] = "warn",
    [CEPH_LB_IS_FULL] = "warn",    [CEPH_LB_IS_FAILED] = "bad",
    [CEPH_LB_IS_RESTING] = "warn", [CEPH_LB_IS_DRAINED] = "idle",
    [CEPH_LB_IS_DOWN] = "idle",    [CEPH_LB_IS_UNKNOWN] = "idle",
};

static const char *const ngx_http_ceph_lb_html_list_classes[] = {
    [NGX_HTTP_CEPH_LB_LIST_FRESH] = "good",
    [NGX_HTTP_CEPH_LB_LIST_STALE] = "warn",
    [NGX_HTTP_CEPH_LB_LIST_NONE] = "bad",
};

static const char *const ngx_http_ceph_lb_html_list_words[] = {
    [NGX_HTTP_CEPH_LB_LIST_FRESH] = "fresh",
    [NGX_HTTP_CEPH_LB_LIST_STALE] = "serving last list",
    [NGX_HTTP_CEPH_LB_LIST_NONE] = "none",
};

/* Times below each of these are said in its unit. */
static const struct {
    uint64_t    below_ms;
    uint64_t    unit_ms;
    const char *unit;
} ngx_http_ceph_lb_html_times[] = {
    {2 * 60 * 1000, 1000, "s"},
    {2 * 3600 * 1000, 60 * 1000, "min"},
    {48 * 3600 * 1000, 3600 * 1000, "h"},
    {CEPH_LB_NONE, 24 * 3600 * 1000, "d"},
};

/* The first column is the head of a row, and needs no name. */
void
ngx_http_ceph_lb_html_labels(ngx_http_ceph_lb_output_t *out)
{
    ngx_uint_t i;

    for (i = 1; i < NGX_HTTP_CEPH_LB_HTML_COLUMNS; i++) {
        ngx_http_ceph_lb_print(
            out, "tbody td:nth-child(%ui)::before{content:\"%s\"}\n", i + 1,
            ngx_http_ceph_lb_html_columns[i].name);
    }
}

void
ngx_http_ceph_lb_html_upstream(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_upstream_t *u)
{
    ngx_http_ceph_lb_put(out, "<section>\n<h2>");
    ngx_http_ceph_lb_put_html(out, &u->name);
    ngx_http_ceph_lb_put(out, "</h2>\n<p class=\"soft\"><code>");
    ngx_http_ceph_lb_put_html(out, &u->registry);
    ngx_http_ceph_lb_put(out, "</code></p>\n<div class=\"cards\">\n");

    ngx_http_ceph_lb_html_list(out, u);
    ngx_http_ceph_lb_html_counters(out, u);
    ngx_http_ceph_lb_html_settings(out, u);

    ngx_http_ceph_lb_put(out, "</div>\n");
    ngx_http_ceph_lb_html_backends(out, u);
    ngx_http_ceph_lb_put(out, "</section>\n");
}

static void
ngx_http_ceph_lb_html_list(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_upstream_t *u)
{
    ngx_http_ceph_lb_html_card(out, "Newest list");
    ngx_http_ceph_lb_print(
        out, "<dt>State</dt><dd><span class=\"state %s\">%s</span></dd>\n",
        ngx_http_ceph_lb_html_list_classes[u->list_state],
        ngx_http_ceph_lb_html_list_words[u->list_state]);
    ngx_http_ceph_lb_html_fact_time(out, "Age", u->age_ms, NULL);
    ngx_http_ceph_lb_html_fact(out, "Backends in it", u->total, 0);
    ngx_http_ceph_lb_html_fact(out, "May get requests", u->usable, 0);
    ngx_http_ceph_lb_html_fact(
        out, "Are ready", u->conditions[CEPH_LB_IS_READY], 0);
    ngx_http_ceph_lb_html_fact(out, "Changes", u->changes, 0);
    ngx_http_ceph_lb_put(out, "</dl>\n</section>\n");
}

static void
ngx_http_ceph_lb_html_counters(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_upstream_t *u)
{
    ngx_http_ceph_lb_html_card(out, "Queries");
    ngx_http_ceph_lb_html_fact(out, "That brought a list", u->flights, 0);
    ngx_http_ceph_lb_html_fact(
        out, "Requests per query", u->passengers_per_flight, 3);
    ngx_http_ceph_lb_html_fact(
        out, "Mean time, ms",
        ngx_http_ceph_lb_html_hundredths_of_ms(u->query_us_mean), 2);
    ngx_http_ceph_lb_html_fact(
        out, "Longest time, ms",
        ngx_http_ceph_lb_html_hundredths_of_ms(u->query_us_max), 2);
    ngx_http_ceph_lb_html_fact(out, "Errors", u->errors, 0);
    ngx_http_ceph_lb_put(out, "</dl>\n</section>\n");

    ngx_http_ceph_lb_html_card(out, "Requests");
    ngx_http_ceph_lb_html_fact(out, "With a fresh list", u->passengers, 0);
    ngx_http_ceph_lb_html_fact(out, "With the last list", u->stale, 0);
    ngx_http_ceph_lb_html_fact(out, "Without a list", u->without, 0);
    ngx_http_ceph_lb_html_fact(
        out, "Without a backend to try", u->unavailable, 0);
    ngx_http_ceph_lb_put(out, "</dl>\n</section>\n");
}

static void
ngx_http_ceph_lb_html_settings(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_upstream_t *u)
{
    ngx_http_ceph_lb_html_card(out, "Settings");
    ngx_http_ceph_lb_put(out, "<dt>Method</dt><dd>");
    ngx_http_ceph_lb_put_html(out, &u->method);
    ngx_http_ceph_lb_put(out, u->key.len > 0 ? " <code>" : "");
    ngx_http_ceph_lb_put_html(out, &u->key);
    ngx_http_ceph_lb_put(out, u->key.len > 0 ? "</code></dd>\n" : "</dd>\n");
    ngx_http_ceph_lb_html_fact_text(out, "Preferred zone", &u->prefer_zone);
    ngx_http_ceph_lb_html_fact(out, "max_fails", u->max_fails, 0);
    ngx_http_ceph_lb_html_fact_time(
        out, "fail_timeout", u->fail_timeout_ms, NULL);
    ngx_http_ceph_lb_html_fact_time(out, "slow_start", u->slow_start_ms, "off");
    ngx_http_ceph_lb_html_fact_time(
        out, "Last list serves", u->stale_ms, "off");
    ngx_http_ceph_lb_html_fact_text(out, "Shared memory", &u->zone);
    ngx_http_ceph_lb_put(out, "</dl>\n</section>\n");
}

static void
ngx_http_ceph_lb_html_backends(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_upstream_t *u)
{
    ngx_uint_t i, n = 0;

    ngx_http_ceph_lb_put(out, "<table>\n<caption>Backends");

    for (i = 0; i < CEPH_LB_CONDITIONS; i++) {
        if (u->conditions[i] > 0) {
            ngx_http_ceph_lb_print(
                out, "%s %uL %s", n++ == 0 ? ":" : ",", u->conditions[i],
                ceph_lb_condition_word(i));
        }
    }

    ngx_http_ceph_lb_put(out, "</caption>\n<thead>\n<tr>");

    for (i = 0; i < NGX_HTTP_CEPH_LB_HTML_COLUMNS; i++) {
        ngx_http_ceph_lb_print(
            out, "<th scope=\"col\" class=\"%s\">%s</th>",
            ngx_http_ceph_lb_html_columns[i].class,
            ngx_http_ceph_lb_html_columns[i].name);
    }

    ngx_http_ceph_lb_put(out, "</tr>\n</thead>\n<tbody>\n");

    for (i = 0; i < u->total; i++) {
        ngx_http_ceph_lb_html_backend(out, &u->backends[i]);
    }

    ngx_http_ceph_lb_put(out, "</tbody>\n</table>\n");
}

static void
ngx_http_ceph_lb_html_backend(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_backend_t *b)
{
    const ceph_lb_report_t *r = &b->report;

    ngx_http_ceph_lb_print(
        out, "<tr><th scope=\"row\" class=\"t\">%V</th>", &b->address);
    ngx_http_ceph_lb_html_condition(out, b);
    ngx_http_ceph_lb_html_cell(out, r->connections, 0);
    ngx_http_ceph_lb_html_cell(out, r->requests, 0);
    ngx_http_ceph_lb_html_cell(out, r->failures, 0);

    ngx_http_ceph_lb_put(out, "<td class=\"n\">");
    ngx_http_ceph_lb_html_time(out, r->failed_ms);
    ngx_http_ceph_lb_put(
        out, r->failed_ms != CEPH_LB_NONE ? " ago</td>" : "</td>");

    ngx_http_ceph_lb_html_cell(
        out, ngx_http_ceph_lb_html_hundredths_of_ms(r->latency_us), 2);
    ngx_http_ceph_lb_html_cell(out, r->weight, 0);
    ngx_http_ceph_lb_html_cell(
        out, r->max_conns > 0 ? r->max_conns : CEPH_LB_NONE, 0);
    ngx_http_ceph_lb_print(
        out, "<td>%V%s</td><td class=\"t\">", &b->row_state,
        r->backup ? ", backup" : "");
    ngx_http_ceph_lb_html_text(out, &b->zone);
    ngx_http_ceph_lb_put(out, "</td></tr>\n");
}

static void
ngx_http_ceph_lb_html_condition(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_backend_t *b)
{
    const ceph_lb_report_t *r = &b->report;

    ngx_http_ceph_lb_print(
        out, "<td><span class=\"state %s\">%V</span>",
        ngx_http_ceph_lb_html_condition_classes[r->condition], &b->condition);

    if (r->condition == CEPH_LB_IS_STARTING) {
        ngx_http_ceph_lb_print(out, " with %uL %%", r->warmth_percent);

    } else if (r->condition == CEPH_LB_IS_RESTING) {
        ngx_http_ceph_lb_print(out, " for %uL s", (r->wait_ms + 999) / 1000);

    } else if (r->condition == CEPH_LB_IS_FAILED && r->wait_ms > 0) {
        ngx_http_ceph_lb_print(
            out, " %uL s until a trial", (r->wait_ms + 999) / 1000);

    } else if (r->condition == CEPH_LB_IS_FAILED) {
        ngx_http_ceph_lb_put(out, " to be tried now");
    }

    ngx_http_ceph_lb_put(out, "</td>");
}

static void
ngx_http_ceph_lb_html_card(ngx_http_ceph_lb_output_t *out, const char *title)
{
    ngx_http_ceph_lb_print(
        out, "<section class=\"card\">\n<h3>%s</h3>\n<dl>\n", title);
}

static void
ngx_http_ceph_lb_html_fact(
    ngx_http_ceph_lb_output_t *out,
    const char                *name,
    uint64_t                   n,
    ngx_uint_t                 decimals)
{
    ngx_http_ceph_lb_print(out, "<dt>%s</dt><dd>", name);
    ngx_http_ceph_lb_html_number(out, n, decimals);
    ngx_http_ceph_lb_put(out, "</dd>\n");
}

static void
ngx_http_ceph_lb_html_fact_text(
    ngx_http_ceph_lb_output_t *out, const char *name, const ngx_str_t *text)
{
    ngx_http_ceph_lb_print(out, "<dt>%s</dt><dd>", name);
    ngx_http_ceph_lb_html_text(out, text);
    ngx_http_ceph_lb_put(out, "</dd>\n");
}

/* zero: what is said instead of no time at all; NULL: the time. */
static void
ngx_http_ceph_lb_html_fact_time(
    ngx_http_ceph_lb_output_t *out,
    const char                *name,
    uint64_t                   ms,
    const char                *zero)
{
    ngx_http_ceph_lb_print(out, "<dt>%s</dt><dd>", name);

    if (ms == 0 && zero != NULL) {
        ngx_http_ceph_lb_put(out, zero);

    } else {
        ngx_http_ceph_lb_html_time(out, ms);
    }

    ngx_http_ceph_lb_put(out, "</dd>\n");
}

static void
ngx_http_ceph_lb_html_cell(
    ngx_http_ceph_lb_output_t *out, uint64_t n, ngx_uint_t decimals)
{
    ngx_http_ceph_lb_put(out, "<td class=\"n\">");
    ngx_http_ceph_lb_html_number(out, n, decimals);
    ngx_http_ceph_lb_put(out, "</td>");
}

static void
ngx_http_ceph_lb_html_number(
    ngx_http_ceph_lb_output_t *out, uint64_t n, ngx_uint_t decimals)
{
    if (n == CEPH_LB_NONE) {
        ngx_http_ceph_lb_put(out, NOTHING);

    } else {
        ngx_http_ceph_lb_put_decimal(out, n, decimals);
    }
}

static void
ngx_http_ceph_lb_html_text(
    ngx_http_ceph_lb_output_t *out, const ngx_str_t *text)
{
    if (text->len > 0) {
        ngx_http_ceph_lb_put_html(out, text);

    } else {
        ngx_http_ceph_lb_put(out, NOTHING);
    }
}

/* From microseconds, rounded. */
static uint64_t
ngx_http_ceph_lb_html_hundredths_of_ms(uint64_t us)
{
    return us == CEPH_LB_NONE ? us : (us + 5) / 10;
}

void
ngx_http_ceph_lb_html_time(ngx_http_ceph_lb_output_t *out, uint64_t ms)
{
    ngx_uint_t i;

    if (ms == CEPH_LB_NONE) {
        ngx_http_ceph_lb_put(out, NOTHING);
        return;
    }

    if (ms < 10000) {
        ngx_http_ceph_lb_put_decimal(out, ms / 100, 1);
        ngx_http_ceph_lb_put(out, " s");
        return;
    }

    for (i = 0; ms >= ngx_http_ceph_lb_html_times[i].below_ms; i++) {
        /* void */
    }

    ngx_http_ceph_lb_print(
        out, "%uL %s", ms / ngx_http_ceph_lb_html_times[i].unit_ms,
        ngx_http_ceph_lb_html_times[i].unit);
}
