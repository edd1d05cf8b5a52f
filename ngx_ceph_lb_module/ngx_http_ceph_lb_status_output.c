#include "ngx_http_ceph_lb_status_output.h"

#define NGX_HTTP_CEPH_LB_OUTPUT_BUFFER 16384

static u_char *
ngx_http_ceph_lb_output_reserve(ngx_http_ceph_lb_output_t *out, size_t size);
static void
ngx_http_ceph_lb_output_advance(ngx_http_ceph_lb_output_t *out, u_char *last);

void
ngx_http_ceph_lb_output_init(ngx_http_ceph_lb_output_t *out, ngx_pool_t *pool)
{
    ngx_memzero(out, sizeof(ngx_http_ceph_lb_output_t));
    out->pool = pool;
}

void
ngx_http_ceph_lb_put(ngx_http_ceph_lb_output_t *out, const char *text)
{
    u_char *p;
    size_t  len = ngx_strlen(text);

    p = ngx_http_ceph_lb_output_reserve(out, len);

    if (p != NULL) {
        ngx_http_ceph_lb_output_advance(out, ngx_cpymem(p, text, len));
    }
}

void
ngx_http_ceph_lb_print(ngx_http_ceph_lb_output_t *out, const char *format, ...)
{
    u_char *p;
    va_list args;

    p = ngx_http_ceph_lb_output_reserve(out, NGX_HTTP_CEPH_LB_PRINT_MAX);

    if (p == NULL) {
        return;
    }

    va_start(args, format);
    p = ngx_vslprintf(p, p + NGX_HTTP_CEPH_LB_PRINT_MAX, format, args);
    va_end(args);

    ngx_http_ceph_lb_output_advance(out, p);
}

void
ngx_http_ceph_lb_put_html(ngx_http_ceph_lb_output_t *out, const ngx_str_t *text)
{
    u_char *p;
    size_t  more;

    more = (size_t) ngx_escape_html(NULL, text->data, text->len);

    p = ngx_http_ceph_lb_output_reserve(out, text->len + more);

    if (p != NULL) {
        p = (u_char *) ngx_escape_html(p, text->data, text->len);
        ngx_http_ceph_lb_output_advance(out, p);
    }
}

void
ngx_http_ceph_lb_put_quoted(
    ngx_http_ceph_lb_output_t *out, const ngx_str_t *text)
{
    u_char *p;
    size_t  more;

    more = (size_t) ngx_escape_json(NULL, text->data, text->len);

    p = ngx_http_ceph_lb_output_reserve(out, text->len + more + 2);

    if (p != NULL) {
        *p++ = '"';
        p = (u_char *) ngx_escape_json(p, text->data, text->len);
        *p++ = '"';
        ngx_http_ceph_lb_output_advance(out, p);
    }
}

void
ngx_http_ceph_lb_put_decimal(
    ngx_http_ceph_lb_output_t *out, uint64_t n, ngx_uint_t decimals)
{
    u_char     fraction[NGX_INT64_LEN];
    ngx_uint_t i;

    for (i = decimals; i > 0; i--) {
        fraction[i - 1] = (u_char) ('0' + n % 10);
        n /= 10;
    }

    if (decimals > 0) {
        ngx_http_ceph_lb_print(out, "%uL.%*s", n, (size_t) decimals, fraction);

    } else {
        ngx_http_ceph_lb_print(out, "%uL", n);
    }
}

/* Room for so many bytes in one piece; NULL: no memory. */
static u_char *
ngx_http_ceph_lb_output_reserve(ngx_http_ceph_lb_output_t *out, size_t size)
{
    ngx_buf_t   *b;
    ngx_chain_t *link;

    if (out->failed) {
        return NULL;
    }

    if (out->last != NULL) {
        b = out->last->buf;

        if ((size_t) (b->end - b->last) >= size) {
            return b->last;
        }
    }

    link = ngx_alloc_chain_link(out->pool);
    b = ngx_create_temp_buf(
        out->pool, ngx_max(size, NGX_HTTP_CEPH_LB_OUTPUT_BUFFER));

    if (link == NULL || b == NULL) {
        out->failed = 1;
        return NULL;
    }

    link->buf = b;
    link->next = NULL;

    if (out->last == NULL) {
        out->first = link;

    } else {
        out->last->next = link;
    }

    out->last = link;

    return b->last;
}

static void
ngx_http_ceph_lb_output_advance(ngx_http_ceph_lb_output_t *out, u_char *last)
{
    ngx_buf_t *b = out->last->buf;

    out->size += last - b->last;
    b->last = last;
}
