/*
 * Text that is written from its beginning to its end, into a chain of buffers
 * that grows with it.
 *
 * The pages are small and their forms are known, so a library that makes JSON
 * would be one more to link: nginx's own ngx_escape_json(), ngx_escape_html()
 * and ngx_sprintf() do.
 */

#ifndef NGX_HTTP_CEPH_LB_STATUS_OUTPUT_H
#define NGX_HTTP_CEPH_LB_STATUS_OUTPUT_H

#include <ngx_config.h>
#include <ngx_core.h>

/* The most that one call of ngx_http_ceph_lb_print may write. */
#define NGX_HTTP_CEPH_LB_PRINT_MAX 512

/* The buffers are in the pool.  Without memory the rest is left out. */
typedef struct {
    ngx_pool_t  *pool;
    ngx_chain_t *first; /* NULL: nothing was written */
    ngx_chain_t *last;
    off_t        size;
    ngx_uint_t   failed;    /* unsigned  failed:1; there was no memory */
    ngx_uint_t   continued; /* unsigned  continued:1; for who writes lists */
} ngx_http_ceph_lb_output_t;

void
ngx_http_ceph_lb_output_init(ngx_http_ceph_lb_output_t *out, ngx_pool_t *pool);

/* As it is; text is zero-terminated. */
void ngx_http_ceph_lb_put(ngx_http_ceph_lb_output_t *out, const char *text);

/* As ngx_sprintf() does.  For numbers and short words. */
void
ngx_http_ceph_lb_print(ngx_http_ceph_lb_output_t *out, const char *format, ...);

/* For the content of an HTML element, or an attribute in quotation marks. */
void ngx_http_ceph_lb_put_html(
    ngx_http_ceph_lb_output_t *out, const ngx_str_t *text);

/*
 * In quotation marks, as JSON has it: and Prometheus' labels too, as long as
 * there are no control characters.
 */
void ngx_http_ceph_lb_put_quoted(
    ngx_http_ceph_lb_output_t *out, const ngx_str_t *text);

/* A number of tenths, hundredths, and so on, exactly; none for units. */
void ngx_http_ceph_lb_put_decimal(
    ngx_http_ceph_lb_output_t *out, uint64_t n, ngx_uint_t decimals);

#endif /* NGX_HTTP_CEPH_LB_STATUS_OUTPUT_H */
