/*
 * The directives and parameters that say how backends are chosen, and what
 * counts against them.  All log what is wrong, as nginx's own do.
 */

#ifndef NGX_HTTP_CEPH_LB_OPTIONS_H
#define NGX_HTTP_CEPH_LB_OPTIONS_H

#include "ngx_http_ceph_lb_conf.h"

/* Handlers of directives in "upstream". */
char *
ngx_http_ceph_lb_zone_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_ceph_lb_method(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *
ngx_http_ceph_lb_prefer_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_ceph_lb_fail_on(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_ceph_lb_timeout(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* Parameters of "ceph_lb". */
char *ngx_http_ceph_lb_set_max_fails(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value);
char *ngx_http_ceph_lb_set_fail_timeout(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value);
char *ngx_http_ceph_lb_set_slow_start(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value);

/* What is wrong when one of them stands without "ceph_lb", or NULL. */
const char *
ngx_http_ceph_lb_option_without(const ngx_http_ceph_lb_srv_conf_t *conf);

/* The zone of an upstream that names none. */
ngx_int_t ngx_http_ceph_lb_default_zone(
    ngx_conf_t                   *cf,
    ngx_http_ceph_lb_srv_conf_t  *conf,
    ngx_http_upstream_srv_conf_t *us);

#endif /* NGX_HTTP_CEPH_LB_OPTIONS_H */
