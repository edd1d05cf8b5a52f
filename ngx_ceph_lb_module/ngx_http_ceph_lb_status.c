#include "ngx_http_ceph_lb_status.h"

#include "ceph_lb_format.h"
#include "ngx_http_ceph_lb_status_render.h"

/* How much of an unknown format's name is said again. */
#define NGX_HTTP_CEPH_LB_NAME_MAX 64

typedef struct {
    ngx_str_t type; /* with a charset */
    size_t    len;  /* of it without one */
    void (*render)(
        ngx_http_ceph_lb_output_t       *out,
        const ngx_http_ceph_lb_status_t *status);
} ngx_http_ceph_lb_format_t;

static ngx_int_t ngx_http_ceph_lb_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_ceph_lb_status_not_allowed(ngx_http_request_t *r);
static ngx_int_t ngx_http_ceph_lb_status_choose(
    ngx_http_request_t *r, ceph_lb_format_e *format, ngx_str_t *name);
static ngx_int_t
ngx_http_ceph_lb_status_accept(ngx_http_request_t *r, ngx_str_t *field);
static ngx_uint_t ngx_http_ceph_lb_status_is_accept(ngx_table_elt_t *h);
static ngx_int_t
ngx_http_ceph_lb_status_unknown(ngx_http_request_t *r, ngx_str_t *name);
static ngx_int_t ngx_http_ceph_lb_status_send(
    ngx_http_request_t        *r,
    ngx_uint_t                 code,
    const ngx_str_t           *type,
    size_t                     type_len,
    ngx_http_ceph_lb_output_t *out);
static ngx_int_t ngx_http_ceph_lb_status_add_header(
    ngx_http_request_t *r, const char *name, const char *value);

static const ngx_http_ceph_lb_format_t ngx_http_ceph_lb_formats[] = {
    [CEPH_LB_HTML] =
        {ngx_string("text/html; charset=utf-8"), sizeof("text/html") - 1,
         ngx_http_ceph_lb_status_html},
    [CEPH_LB_JSON] =
        {ngx_string("application/json"), sizeof("application/json") - 1,
         ngx_http_ceph_lb_status_json},
    [CEPH_LB_PROMETHEUS] =
        {ngx_string("text/plain; version=0.0.4; charset=utf-8"),
         sizeof("text/plain") - 1, ngx_http_ceph_lb_status_prometheus},
};

char *
ngx_http_ceph_lb_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_ceph_lb_status_handler;

    return NGX_CONF_OK;
}

static ngx_int_t
ngx_http_ceph_lb_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                        rc;
    ngx_str_t                        name;
    ceph_lb_format_e                 format;
    ngx_http_ceph_lb_output_t        out;
    ngx_http_ceph_lb_status_t       *status;
    const ngx_http_ceph_lb_format_t *f;

    if (!(r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD))) {
        return ngx_http_ceph_lb_status_not_allowed(r);
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_ceph_lb_status_choose(r, &format, &name);

    if (rc == NGX_DECLINED) {
        return ngx_http_ceph_lb_status_unknown(r, &name);
    }

    if (rc != NGX_OK || (status = ngx_http_ceph_lb_status_collect(r)) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    f = &ngx_http_ceph_lb_formats[format];

    ngx_http_ceph_lb_output_init(&out, r->pool);
    f->render(&out, status);

    return ngx_http_ceph_lb_status_send(r, NGX_HTTP_OK, &f->type, f->len, &out);
}

static ngx_int_t
ngx_http_ceph_lb_status_not_allowed(ngx_http_request_t *r)
{
    if (ngx_http_ceph_lb_status_add_header(r, "Allow", "GET, HEAD") != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_HTTP_NOT_ALLOWED;
}

/* NGX_DECLINED: there is no format of this name. */
static ngx_int_t
ngx_http_ceph_lb_status_choose(
    ngx_http_request_t *r, ceph_lb_format_e *format, ngx_str_t *name)
{
    ngx_str_t field;

    if (ngx_http_arg(r, (u_char *) "format", sizeof("format") - 1, name)
        == NGX_OK) {
        return ceph_lb_format_by_name((char *) name->data, name->len, format)
                 ? NGX_OK
                 : NGX_DECLINED;
    }

    if (ngx_http_ceph_lb_status_accept(r, &field) != NGX_OK) {
        return NGX_ERROR;
    }

    *format = ceph_lb_format_by_accept((char *) field.data, field.len);

    return NGX_OK;
}

/* All fields of the name as one, as RFC 9110 has it (5.3). */
static ngx_int_t
ngx_http_ceph_lb_status_accept(ngx_http_request_t *r, ngx_str_t *field)
{
    u_char          *p;
    size_t           len = 0;
    ngx_uint_t       i;
    ngx_list_part_t *part;
    ngx_table_elt_t *h;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            len += ngx_http_ceph_lb_status_is_accept(&h[i]) ? h[i].value.len + 1
                                                            : 0;
        }
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    field->data = p;
    field->len = len;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (ngx_http_ceph_lb_status_is_accept(&h[i])) {
                p = ngx_cpymem(p, h[i].value.data, h[i].value.len);
                *p++ = ',';
            }
        }
    }

    return NGX_OK;
}

static ngx_uint_t
ngx_http_ceph_lb_status_is_accept(ngx_table_elt_t *h)
{
    return h->key.len == sizeof("Accept") - 1
        && ngx_strncasecmp(
               h->key.data, (u_char *) "Accept", sizeof("Accept") - 1)
               == 0;
}

static ngx_int_t
ngx_http_ceph_lb_status_unknown(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_http_ceph_lb_output_t out;

    static const ngx_str_t type = ngx_string("text/plain; charset=utf-8");

    ngx_http_ceph_lb_output_init(&out, r->pool);
    ngx_http_ceph_lb_print(
        &out,
        "There is no format \"%*s\"; there are html, json and prometheus.\n",
        ngx_min(name->len, NGX_HTTP_CEPH_LB_NAME_MAX), name->data);

    return ngx_http_ceph_lb_status_send(
        r, NGX_HTTP_BAD_REQUEST, &type, sizeof("text/plain") - 1, &out);
}

static ngx_int_t
ngx_http_ceph_lb_status_send(
    ngx_http_request_t        *r,
    ngx_uint_t                 code,
    const ngx_str_t           *type,
    size_t                     type_len,
    ngx_http_ceph_lb_output_t *out)
{
    ngx_int_t rc;

    if (out->failed
        || ngx_http_ceph_lb_status_add_header(r, "Cache-Control", "no-store")
               != NGX_OK
        || ngx_http_ceph_lb_status_add_header(
               r, "X-Content-Type-Options", "nosniff")
               != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = code;
    r->headers_out.content_length_n = out->size;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type_len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out->last->buf->last_buf = r == r->main;
    out->last->buf->last_in_chain = 1;

    return ngx_http_output_filter(r, out->first);
}

static ngx_int_t
ngx_http_ceph_lb_status_add_header(
    ngx_http_request_t *r, const char *name, const char *value)
{
    ngx_table_elt_t *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value.data = (u_char *) value;
    h->value.len = ngx_strlen(value);

    return NGX_OK;
}
