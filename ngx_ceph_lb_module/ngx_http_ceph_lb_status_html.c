#include "ngx_http_ceph_lb_status_html.h"

static void ngx_http_ceph_lb_html_head(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);
static void ngx_http_ceph_lb_html_foot(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);
static void ngx_http_ceph_lb_html_notes(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);
static ngx_uint_t ngx_http_ceph_lb_html_notes_of(
    ngx_http_ceph_lb_output_t                *out,
    const ngx_http_ceph_lb_status_upstream_t *u);
static void ngx_http_ceph_lb_html_trouble(
    ngx_http_ceph_lb_output_t                *out,
    const ngx_http_ceph_lb_status_upstream_t *u);
static const char *
ngx_http_ceph_lb_html_lack(const ngx_http_ceph_lb_status_upstream_t *u);
static void ngx_http_ceph_lb_html_note(
    ngx_http_ceph_lb_output_t                *out,
    const char                               *look,
    const ngx_http_ceph_lb_status_upstream_t *u,
    const char                               *text);

/*
 * The styles of the page.  On a narrow screen each row of the table becomes a
 * card, and what its columns are called stands in front of each value.
 */
static const char ngx_http_ceph_lb_html_style[] =
    ":root{--page:#f5f6f8;--card:#fff;--text:#1b2430;--soft:#566373;"
    "--line:#dce1e7;--good:#12672f;--good-back:#e0f3e6;--warn:#7a4a00;"
    "--warn-back:#fcefd6;--bad:#a81e16;--bad-back:#fde5e3;--idle:#4a5663;"
    "--idle-back:#e8ecf0}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#12161b;--card:#1b2128;"
    "--text:#e3e8ed;--soft:#9dabb9;--line:#313a44;--good:#82dba3;"
    "--good-back:#153322;--warn:#f3c27c;--warn-back:#3a2b11;--bad:#ffa49c;"
    "--bad-back:#47201d;--idle:#b6c1cc;--idle-back:#2a323b}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:90rem;padding:1rem;background:var(--page);"
    "color:var(--text);font:1rem/1.45 system-ui,sans-serif}\n"
    "h1{font-size:1.4rem;margin:0}h2{font-size:1.2rem;margin:2rem 0 0}\n"
    "h3{font-size:.95rem;margin:0 0 .5rem}\n"
    "p{margin:.25rem 0}.soft,dt,caption,footer{color:var(--soft)}\n"
    "code{overflow-wrap:anywhere}\n"
    ".notes{list-style:none;margin:1rem 0;padding:0}\n"
    ".notes li{margin:.5rem 0;padding:.6rem .8rem;border-radius:.4rem;"
    "border-left:.3rem solid;overflow-wrap:anywhere}\n"
    ".good{color:var(--good);background:var(--good-back)}\n"
    ".warn{color:var(--warn);background:var(--warn-back)}\n"
    ".bad{color:var(--bad);background:var(--bad-back)}\n"
    ".idle{color:var(--idle);background:var(--idle-back)}\n"
    ".cards{display:grid;gap:.75rem;margin:.75rem 0;"
    "grid-template-columns:repeat(auto-fit,minmax(min(13rem,100%),1fr))}\n"
    ".card{background:var(--card);border:1px solid var(--line);"
    "border-radius:.5rem;padding:.75rem}\n"
    "dl{display:grid;grid-template-columns:auto 1fr;gap:.15rem .75rem;"
    "margin:0;font-size:.9rem}\n"
    "dd{margin:0;text-align:right;font-variant-numeric:tabular-nums;"
    "overflow-wrap:anywhere}\n"
    ".state{display:inline-block;white-space:nowrap;border-radius:.3rem;"
    "padding:0 .45rem;font-weight:600}\n"
    "table{width:100%;border-collapse:collapse;background:var(--card);"
    "font-size:.9rem}\n"
    "caption{text-align:left;padding:.25rem 0}\n"
    "th,td{padding:.35rem .6rem;text-align:left;"
    "border:1px solid var(--line);border-width:1px 0}\n"
    "thead th{position:sticky;top:0;background:var(--card);"
    "vertical-align:bottom}\n"
    ".t{overflow-wrap:anywhere;min-width:7.5rem}\n"
    "tbody .t:first-child{min-width:12rem}\n"
    ".n{text-align:right;font-variant-numeric:tabular-nums}\n"
    "footer{margin-top:2rem;font-size:.85rem}\n"
    "@media(max-width:76rem){\n"
    "section{display:flex;flex-direction:column}.cards{order:1}\n"
    "thead{position:absolute;clip-path:inset(50%);height:1px;width:1px;"
    "overflow:hidden}\n"
    "table,tbody,caption{display:block;background:none}\n"
    "tbody tr{display:grid;"
    "grid-template-columns:repeat(auto-fill,minmax(min(8rem,30%),1fr));"
    "gap:.3rem .75rem;background:var(--card);border:1px solid var(--line);"
    "border-radius:.5rem;padding:.75rem;margin:.6rem 0}\n"
    "tbody .t:first-child,tbody td,tbody .n{display:block;border:0;padding:0;"
    "min-width:0;text-align:left;overflow-wrap:anywhere}\n"
    "tbody th,tbody td:nth-child(2){grid-column:1/-1}\n"
    "tbody td::before{display:block;color:var(--soft);font-size:.75rem}\n"
    "tbody td:nth-child(2)::before{display:none}\n";

void
ngx_http_ceph_lb_status_html(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    ngx_uint_t i;

    ngx_http_ceph_lb_html_head(out, status);
    ngx_http_ceph_lb_html_notes(out, status);

    for (i = 0; i < status->count; i++) {
        ngx_http_ceph_lb_html_upstream(out, &status->upstreams[i]);
    }

    ngx_http_ceph_lb_html_foot(out, status);
}

/* The empty icon keeps browsers from asking for one. */
static void
ngx_http_ceph_lb_html_head(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    ngx_http_ceph_lb_put(
        out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
             "<meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, "
             "initial-scale=1\">\n"
             "<meta name=\"color-scheme\" content=\"light dark\">\n"
             "<meta http-equiv=\"refresh\" content=\"2\">\n"
             "<link rel=\"icon\" href=\"data:,\">\n"
             "<title>ceph-lb</title>\n<style>\n");
    ngx_http_ceph_lb_put(out, ngx_http_ceph_lb_html_style);

    ngx_http_ceph_lb_html_labels(out);
    ngx_http_ceph_lb_put(
        out, "}\n</style>\n</head>\n<body>\n<header>\n<h1>ceph-lb</h1>\n");
    ngx_http_ceph_lb_print(
        out,
        "<p class=\"soft\">Worker %uL, <time datetime=\"%V\">%V</time></p>\n"
        "</header>\n<main>\n",
        status->pid, &status->generated, &status->generated);
}

static void
ngx_http_ceph_lb_html_foot(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    ngx_http_ceph_lb_put(
        out, "</main>\n<footer>\n"
             "<p>Lists are those of the worker that answers; all numbers of "
             "requests, failures and queries are those of all workers. Also as "
             "<a href=\"?format=json\">JSON</a> and for "
             "<a href=\"?format=prometheus\">Prometheus</a>.</p>\n");
    ngx_http_ceph_lb_print(
        out, "<p>ceph-lb %V, nginx %V</p>\n</footer>\n</body>\n</html>\n",
        &status->module_version, &status->server_version);
}

/* What is not as it should be, before all else. */
static void
ngx_http_ceph_lb_html_notes(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status)
{
    ngx_uint_t i, notes = 0;

    ngx_http_ceph_lb_put(out, "<ul class=\"notes\">\n");

    for (i = 0; i < status->count; i++) {
        notes += ngx_http_ceph_lb_html_notes_of(out, &status->upstreams[i]);
    }

    if (status->count == 0) {
        ngx_http_ceph_lb_put(
            out, "<li class=\"idle\">There is no upstream with "
                 "<code>ceph_lb</code>.</li>\n");

    } else if (notes == 0) {
        ngx_http_ceph_lb_put(
            out, "<li class=\"good\">No trouble is known: the last query "
                 "brought a list, and there are backends for requests.</li>\n");
    }

    ngx_http_ceph_lb_put(out, "</ul>\n");
}

/* Returns how many there are. */
static ngx_uint_t
ngx_http_ceph_lb_html_notes_of(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_upstream_t *u)
{
    ngx_uint_t  notes = 0;
    const char *lack = ngx_http_ceph_lb_html_lack(u);

    if (u->troubled) {
        ngx_http_ceph_lb_html_trouble(out, u);
        notes++;

    } else if (lack != NULL) {
        ngx_http_ceph_lb_html_note(out, "bad", u, lack);
        notes++;
    }

    if (u->usable > 0
        && u->conditions[CEPH_LB_IS_FAILED] + u->conditions[CEPH_LB_IS_RESTING]
               == u->usable)
    {
        ngx_http_ceph_lb_html_note(
            out, "bad", u,
            "every backend has failed, or rests; requests are passed to them "
            "all the same.");
        notes++;
    }

    if (u->degraded) {
        ngx_http_ceph_lb_html_note(
            out, "warn", u,
            "the shared memory has no room, and this worker counts only its "
            "own requests and failures, until <code>ceph_lb_zone</code> is "
            "larger.");
        notes++;
    }

    return notes;
}

static void
ngx_http_ceph_lb_html_trouble(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_upstream_t *u)
{
    ngx_uint_t is_stale = u->list_state == NGX_HTTP_CEPH_LB_LIST_STALE;

    ngx_http_ceph_lb_print(
        out, "<li class=\"%s\"><strong>", is_stale ? "warn" : "bad");
    ngx_http_ceph_lb_put_html(out, &u->name);
    ngx_http_ceph_lb_print(out, "</strong>: the registry %V: ", &u->trouble);
    ngx_http_ceph_lb_put_html(out, &u->error);
    ngx_http_ceph_lb_put(out, ". It has been so for ");
    ngx_http_ceph_lb_html_time(out, u->trouble_ms);

    if (!is_stale) {
        ngx_http_ceph_lb_put(
            out, ". There is no list that may be used: requests are answered "
                 "with 503.</li>\n");
        return;
    }

    ngx_http_ceph_lb_put(out, ". Requests get the last list, which is ");
    ngx_http_ceph_lb_html_time(out, u->age_ms);
    ngx_http_ceph_lb_put(out, " old, for ");
    ngx_http_ceph_lb_html_time(out, u->stale_ms - u->age_ms);
    ngx_http_ceph_lb_put(out, " more.</li>\n");
}

/* Why no request can be served though the registry answers, or NULL. */
static const char *
ngx_http_ceph_lb_html_lack(const ngx_http_ceph_lb_status_upstream_t *u)
{
    if (u->list_state == NGX_HTTP_CEPH_LB_LIST_NONE) {
        return "no list has been read yet.";
    }

    if (u->total == 0) {
        return "the list is empty: requests are answered with 503.";
    }

    if (u->usable == 0) {
        return "no backend in the list may get requests: they are answered "
               "with 503.";
    }

    return NULL;
}

static void
ngx_http_ceph_lb_html_note(
    ngx_http_ceph_lb_output_t                *out,
    const char                               *look,
    const ngx_http_ceph_lb_status_upstream_t *u,
    const char                               *text)
{
    ngx_http_ceph_lb_print(out, "<li class=\"%s\"><strong>", look);
    ngx_http_ceph_lb_put_html(out, &u->name);
    ngx_http_ceph_lb_print(out, "</strong>: %s</li>\n", text);
}
