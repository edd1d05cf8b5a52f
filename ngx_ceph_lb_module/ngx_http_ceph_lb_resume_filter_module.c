/*
 * A response that its backend breaks off is gone on with at another backend,
 * and the client notices nothing: "ceph_lb_resume".
 *
 * nginx sends a flush when a backend is gone before the end of its response.
 * This filter then asks for what is missing, in a subrequest with a Range and
 * an If-Match of the response's entity tag (RFC 9110, 13.1.1 and 14.2), whose
 * body goes to the client behind what it has already.  That is only done where
 * the bytes must be the same: for a GET whose response has a strong entity tag
 * and a length.
 */

#include "ngx_http_ceph_lb_conf.h"

/* A response is gone on with so many times. */
#define NGX_HTTP_CEPH_LB_RESUMES 5

typedef struct {
    ngx_flag_t resume;
} ngx_http_ceph_lb_resume_conf_t;

/* Of the main request. */
typedef struct {
    ngx_str_t           etag;
    off_t               begin;  /* of the response in the representation */
    off_t               length; /* of the response */
    off_t               passed; /* of it, to the next filter */
    ngx_http_request_t *sr;     /* that goes on with it, or NULL */
    ngx_uint_t          nresumes;
    unsigned            broken : 1;
} ngx_http_ceph_lb_resume_ctx_t;

static ngx_int_t  ngx_http_ceph_lb_resume_header(ngx_http_request_t *r);
static ngx_int_t  ngx_http_ceph_lb_resume_begin(ngx_http_request_t *r);
static ngx_uint_t ngx_http_ceph_lb_resume_is_straight(ngx_http_request_t *r);
static ngx_int_t
ngx_http_ceph_lb_resume_range(ngx_http_request_t *r, off_t *first, off_t *last);
static ngx_int_t ngx_http_ceph_lb_resume_check(
    ngx_http_request_t *sr, ngx_http_ceph_lb_resume_ctx_t *ctx);
static ngx_int_t
ngx_http_ceph_lb_resume_body(ngx_http_request_t *r, ngx_chain_t *in);
static ngx_uint_t
ngx_http_ceph_lb_resume_is_end(ngx_http_request_t *r, ngx_chain_t *in);
static ngx_int_t ngx_http_ceph_lb_resume_go_on(
    ngx_http_request_t *r, ngx_http_ceph_lb_resume_ctx_t *ctx);
static ngx_int_t ngx_http_ceph_lb_resume_set_headers(
    ngx_http_request_t *sr, ngx_http_ceph_lb_resume_ctx_t *ctx);
static ngx_uint_t ngx_http_ceph_lb_resume_keeps(ngx_table_elt_t *h);
static ngx_int_t  ngx_http_ceph_lb_resume_add_header(
     ngx_http_request_t *sr, const char *key, ngx_str_t *value);
static void *ngx_http_ceph_lb_resume_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_ceph_lb_resume_merge_loc_conf(
    ngx_conf_t *cf, void *parent, void *child);
static ngx_int_t ngx_http_ceph_lb_resume_init(ngx_conf_t *cf);

static ngx_http_output_header_filter_pt ngx_http_ceph_lb_resume_next_header;
static ngx_http_output_body_filter_pt   ngx_http_ceph_lb_resume_next_body;

static ngx_command_t ngx_http_ceph_lb_resume_commands[] = {

    {ngx_string("ceph_lb_resume"),
     NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_FLAG,
     ngx_conf_set_flag_slot, NGX_HTTP_LOC_CONF_OFFSET,
     offsetof(ngx_http_ceph_lb_resume_conf_t, resume), NULL},

    ngx_null_command};

static ngx_http_module_t ngx_http_ceph_lb_resume_filter_module_ctx = {
    NULL,                         /* preconfiguration */
    ngx_http_ceph_lb_resume_init, /* postconfiguration */

    NULL, /* create main configuration */
    NULL, /* init main configuration */

    NULL, /* create server configuration */
    NULL, /* merge server configuration */

    ngx_http_ceph_lb_resume_create_loc_conf, /* create location configuration */
    ngx_http_ceph_lb_resume_merge_loc_conf   /* merge location configuration */
};

ngx_module_t ngx_http_ceph_lb_resume_filter_module = {
    NGX_MODULE_V1,
    &ngx_http_ceph_lb_resume_filter_module_ctx, /* module context */
    ngx_http_ceph_lb_resume_commands,           /* module directives */
    NGX_HTTP_MODULE,                            /* module type */
    NULL,                                       /* init master */
    NULL,                                       /* init module */
    NULL,                                       /* init process */
    NULL,                                       /* init thread */
    NULL,                                       /* exit thread */
    NULL,                                       /* exit process */
    NULL,                                       /* exit master */
    NGX_MODULE_V1_PADDING};

static ngx_int_t
ngx_http_ceph_lb_resume_header(ngx_http_request_t *r)
{
    ngx_http_ceph_lb_resume_ctx_t *ctx;

    ctx =
        ngx_http_get_module_ctx(r->main, ngx_http_ceph_lb_resume_filter_module);

    if (ctx != NULL && r == ctx->sr) {
        return ngx_http_ceph_lb_resume_check(r, ctx);
    }

    if (r == r->main && ctx == NULL
        && ngx_http_ceph_lb_resume_begin(r) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_ceph_lb_resume_next_header(r);
}

/* Makes the context of a response that can be gone on with. */
static ngx_int_t
ngx_http_ceph_lb_resume_begin(ngx_http_request_t *r)
{
    off_t                           first = 0, last;
    ngx_table_elt_t                *etag = r->headers_out.etag;
    ngx_http_ceph_lb_resume_ctx_t  *ctx;
    ngx_http_ceph_lb_resume_conf_t *conf;

    conf =
        ngx_http_get_module_loc_conf(r, ngx_http_ceph_lb_resume_filter_module);

    if (!conf->resume || r->method != NGX_HTTP_GET
        || !ngx_http_ceph_lb_resume_is_straight(r)
        || r->headers_out.content_length_n <= 0 || etag == NULL
        || etag->value.len < 2 || etag->value.data[0] != '"')
    {
        return NGX_OK;
    }

    if (r->headers_out.status == NGX_HTTP_PARTIAL_CONTENT) {
        if (ngx_http_ceph_lb_resume_range(r, &first, &last) != NGX_OK
            || last - first + 1 != r->headers_out.content_length_n)
        {
            return NGX_OK;
        }

    } else if (r->headers_out.status != NGX_HTTP_OK) {
        return NGX_OK;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_ceph_lb_resume_ctx_t));
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    ctx->etag = etag->value;
    ctx->begin = first;
    ctx->length = r->headers_out.content_length_n;

    ngx_http_set_ctx(r, ctx, ngx_http_ceph_lb_resume_filter_module);

    return NGX_OK;
}

/* Whether it comes from one of our upstreams and not, even in part, a cache. */
static ngx_uint_t
ngx_http_ceph_lb_resume_is_straight(ngx_http_request_t *r)
{
    ngx_http_upstream_t *u = r->upstream;

#if (NGX_HTTP_CACHE)
    if (r->cache != NULL) {
        return 0;
    }
#endif

    return u != NULL && ngx_http_ceph_lb_is_ours(u->upstream) && !u->store
        && !u->upgrade;
}

/* What a Content-Range "bytes FIRST-LAST/..." says. */
static ngx_int_t
ngx_http_ceph_lb_resume_range(ngx_http_request_t *r, off_t *first, off_t *last)
{
    u_char          *p, *dash, *slash, *end;
    ngx_table_elt_t *h = r->headers_out.content_range;

    if (h == NULL || h->value.len < 6
        || ngx_strncasecmp(h->value.data, (u_char *) "bytes ", 6) != 0)
    {
        return NGX_DECLINED;
    }

    p = h->value.data + 6;
    end = h->value.data + h->value.len;
    dash = ngx_strlchr(p, end, '-');
    slash = ngx_strlchr(p, end, '/');

    if (dash == NULL || slash == NULL || slash < dash) {
        return NGX_DECLINED;
    }

    *first = ngx_atoof(p, dash - p);
    *last = ngx_atoof(dash + 1, slash - dash - 1);

    return *first >= 0 && *last >= *first ? NGX_OK : NGX_DECLINED;
}

/*
 * The header of a subrequest's response goes nowhere.  An error here ends the
 * request, and its connection, as if nothing had been tried.
 */
static ngx_int_t
ngx_http_ceph_lb_resume_check(
    ngx_http_request_t *sr, ngx_http_ceph_lb_resume_ctx_t *ctx)
{
    off_t            first, last;
    ngx_table_elt_t *etag = sr->headers_out.etag;

    if (sr->headers_out.status != NGX_HTTP_PARTIAL_CONTENT
        || ngx_http_ceph_lb_resume_range(sr, &first, &last) != NGX_OK
        || first != ctx->begin + ctx->passed
        || last != ctx->begin + ctx->length - 1 || etag == NULL
        || etag->value.len != ctx->etag.len
        || ngx_memcmp(etag->value.data, ctx->etag.data, ctx->etag.len) != 0)
    {
        ngx_log_error(
            NGX_LOG_ERR, sr->connection->log, 0,
            "ceph_lb: the response cannot be gone on with from byte %O on: "
            "a backend answers %ui",
            ctx->begin + ctx->passed, sr->headers_out.status);
        return NGX_ERROR;
    }

    return ngx_http_ceph_lb_resume_next_header(sr);
}

static ngx_int_t
ngx_http_ceph_lb_resume_body(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_int_t                      rc;
    ngx_chain_t                   *cl;
    ngx_http_ceph_lb_resume_ctx_t *ctx;

    ctx =
        ngx_http_get_module_ctx(r->main, ngx_http_ceph_lb_resume_filter_module);

    if (ctx == NULL || (r != r->main && r != ctx->sr)) {
        return ngx_http_ceph_lb_resume_next_body(r, in);
    }

    for (cl = in; cl; cl = cl->next) {
        ctx->passed += ngx_buf_special(cl->buf) ? 0 : ngx_buf_size(cl->buf);
    }

    if (r == r->main && ctx->passed < ctx->length
        && ngx_http_ceph_lb_resume_is_end(r, in))
    {
        ctx->broken = 1;
    }

    rc = ngx_http_ceph_lb_resume_next_body(r, in);

    if (rc == NGX_ERROR || r != r->main || !ctx->broken || r->buffered
        || (ctx->sr != NULL && !ctx->sr->done))
    {
        return rc;
    }

    if (ctx->passed >= ctx->length) {
        ngx_http_set_ctx(r, NULL, ngx_http_ceph_lb_resume_filter_module);
        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    return ngx_http_ceph_lb_resume_go_on(r, ctx) == NGX_OK ? rc : NGX_ERROR;
}

/* nginx sends a flush when the connection to the backend is gone. */
static ngx_uint_t
ngx_http_ceph_lb_resume_is_end(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_buf_t *b;

    if (r->upstream == NULL || r->upstream->peer.connection != NULL) {
        return 0;
    }

    for (; in; in = in->next) {
        b = in->buf;

        if (ngx_buf_special(b) && b->flush && !b->last_buf) {
            return 1;
        }
    }

    return 0;
}

static ngx_int_t
ngx_http_ceph_lb_resume_go_on(
    ngx_http_request_t *r, ngx_http_ceph_lb_resume_ctx_t *ctx)
{
    if (ctx->nresumes++ == NGX_HTTP_CEPH_LB_RESUMES) {
        ngx_log_error(
            NGX_LOG_ERR, r->connection->log, 0,
            "ceph_lb: the response was broken off too often");
        return NGX_ERROR;
    }

    ngx_log_error(
        NGX_LOG_NOTICE, r->connection->log, 0,
        "ceph_lb: the response was broken off after %O of %O bytes; going on "
        "with it",
        ctx->passed, ctx->length);

    if (ngx_http_subrequest(
            r, &r->uri, &r->args, &ctx->sr, NULL, NGX_HTTP_SUBREQUEST_CLONE)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* No page of ours belongs into the middle of a file. */

    ctx->sr->error_page = 1;

    return ngx_http_ceph_lb_resume_set_headers(ctx->sr, ctx);
}

/* The list of headers is the parent's up to here. */
static ngx_int_t
ngx_http_ceph_lb_resume_set_headers(
    ngx_http_request_t *sr, ngx_http_ceph_lb_resume_ctx_t *ctx)
{
    ngx_str_t        range;
    ngx_uint_t       i;
    ngx_list_part_t *part, parent;
    ngx_table_elt_t *h, *to;

    parent = sr->headers_in.headers.part;

    if (ngx_list_init(
            &sr->headers_in.headers, sr->pool, 20, sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (part = &parent; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (!ngx_http_ceph_lb_resume_keeps(&h[i])) {
                continue;
            }

            to = ngx_list_push(&sr->headers_in.headers);
            if (to == NULL) {
                return NGX_ERROR;
            }

            *to = h[i];
        }
    }

    range.data = ngx_pnalloc(sr->pool, sizeof("bytes=-") + 2 * NGX_OFF_T_LEN);
    if (range.data == NULL) {
        return NGX_ERROR;
    }

    range.len = ngx_sprintf(
                    range.data, "bytes=%O-%O", ctx->begin + ctx->passed,
                    ctx->begin + ctx->length - 1)
              - range.data;

    if (ngx_http_ceph_lb_resume_add_header(sr, "Range", &range) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_ceph_lb_resume_add_header(sr, "If-Match", &ctx->etag);
}

/* The client's conditions have been judged, and its range is another one. */
static ngx_uint_t
ngx_http_ceph_lb_resume_keeps(ngx_table_elt_t *h)
{
    ngx_uint_t               i;
    static const char *const names[] = {
        "Range",         "If-Range",          "If-Match",
        "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (h->key.len == ngx_strlen(names[i])
            && ngx_strncasecmp(h->key.data, (u_char *) names[i], h->key.len)
                   == 0)
        {
            return 0;
        }
    }

    return 1;
}

static ngx_int_t
ngx_http_ceph_lb_resume_add_header(
    ngx_http_request_t *sr, const char *key, ngx_str_t *value)
{
    ngx_table_elt_t *h;

    h = ngx_list_push(&sr->headers_in.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->key.len = ngx_strlen(key);
    h->key.data = (u_char *) key;
    h->value = *value;

    h->lowcase_key = ngx_pnalloc(sr->pool, h->key.len);
    if (h->lowcase_key == NULL) {
        return NGX_ERROR;
    }

    h->hash = ngx_hash_strlow(h->lowcase_key, h->key.data, h->key.len);

    return NGX_OK;
}

static void *
ngx_http_ceph_lb_resume_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_ceph_lb_resume_conf_t *conf;

    conf = ngx_palloc(cf->pool, sizeof(ngx_http_ceph_lb_resume_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->resume = NGX_CONF_UNSET;

    return conf;
}

static char *
ngx_http_ceph_lb_resume_merge_loc_conf(
    ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_ceph_lb_resume_conf_t *prev = parent, *conf = child;

    ngx_conf_merge_value(conf->resume, prev->resume, 1);

    return NGX_CONF_OK;
}

/* Without an upstream of ours no response is looked at. */
static ngx_int_t
ngx_http_ceph_lb_resume_init(ngx_conf_t *cf)
{
    ngx_uint_t                     i;
    ngx_http_upstream_srv_conf_t **us;
    ngx_http_upstream_main_conf_t *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    us = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {
        if (ngx_http_ceph_lb_is_ours(us[i])) {
            break;
        }
    }

    if (i == umcf->upstreams.nelts) {
        return NGX_OK;
    }

    ngx_http_ceph_lb_resume_next_header = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_ceph_lb_resume_header;

    ngx_http_ceph_lb_resume_next_body = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_ceph_lb_resume_body;

    return NGX_OK;
}
