/* The parts of the HTML page, for the file that puts them together. */

#ifndef NGX_HTTP_CEPH_LB_STATUS_HTML_H
#define NGX_HTTP_CEPH_LB_STATUS_HTML_H

#include "ngx_http_ceph_lb_status_render.h"

/* One upstream with its backends. */
void ngx_http_ceph_lb_html_upstream(
    ngx_http_ceph_lb_output_t                *out,
    const ngx_http_ceph_lb_status_upstream_t *u);

/* Styles that say in front of each value what its column is called. */
void ngx_http_ceph_lb_html_labels(ngx_http_ceph_lb_output_t *out);

/* Short times to a tenth of a second, long ones in larger units. */
void ngx_http_ceph_lb_html_time(ngx_http_ceph_lb_output_t *out, uint64_t ms);

#endif /* NGX_HTTP_CEPH_LB_STATUS_HTML_H */
