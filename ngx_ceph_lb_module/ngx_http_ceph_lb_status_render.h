/* A snapshot in each of the formats. */

#ifndef NGX_HTTP_CEPH_LB_STATUS_RENDER_H
#define NGX_HTTP_CEPH_LB_STATUS_RENDER_H

#include "ngx_http_ceph_lb_status_output.h"
#include "ngx_http_ceph_lb_status_snapshot.h"

/* A page that needs nothing else, and asks for itself anew. */
void ngx_http_ceph_lb_status_html(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);

/* null stands for a number that there is not. */
void ngx_http_ceph_lb_status_json(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);

/* Version 0.0.4; a number that there is not is left out. */
void ngx_http_ceph_lb_status_prometheus(
    ngx_http_ceph_lb_output_t *out, const ngx_http_ceph_lb_status_t *status);

#endif /* NGX_HTTP_CEPH_LB_STATUS_RENDER_H */
