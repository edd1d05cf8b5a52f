/* The status page: what an operator can see of all upstreams. */

#ifndef NGX_HTTP_CEPH_LB_STATUS_H
#define NGX_HTTP_CEPH_LB_STATUS_H

#include "ngx_http_ceph_lb_conf.h"

/* The handler of the directive "ceph_lb_status". */
char *ngx_http_ceph_lb_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

#endif /* NGX_HTTP_CEPH_LB_STATUS_H */
