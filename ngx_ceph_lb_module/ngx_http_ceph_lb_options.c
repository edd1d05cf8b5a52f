#include "ngx_http_ceph_lb_options.h"

typedef struct {
    ngx_str_t        name;
    ceph_lb_method_e method;
} ngx_http_ceph_lb_method_name_t;

static char *ngx_http_ceph_lb_set_time(
    ngx_conf_t *cf, const char *param, ngx_str_t *value, uint64_t *time);

static ngx_http_ceph_lb_method_name_t ngx_http_ceph_lb_methods[] = {
    {ngx_string("round_robin"), CEPH_LB_ROUND_ROBIN},
    {ngx_string("least_conn"), CEPH_LB_LEAST_CONN},
    {ngx_string("random"), CEPH_LB_RANDOM},
    {ngx_string("ewma"), CEPH_LB_EWMA},
    {ngx_string("hash"), CEPH_LB_HASH},
};

#define NGX_HTTP_CEPH_LB_METHODS                                               \
    (sizeof(ngx_http_ceph_lb_methods) / sizeof(ngx_http_ceph_lb_methods[0]))

char *
ngx_http_ceph_lb_zone_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ssize_t                      size;
    ngx_str_t                   *value = cf->args->elts;
    ngx_http_ceph_lb_srv_conf_t *lbcf = conf;

    if (lbcf->zone.shm_zone != NULL) {
        return "is duplicate";
    }

    size = ngx_parse_size(&value[2]);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0, "the size \"%V\" of zone \"%V\" is invalid",
            &value[2], &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_ceph_lb_zone_add(cf, &lbcf->zone, &value[1], (size_t) size)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}

ngx_int_t
ngx_http_ceph_lb_default_zone(
    ngx_conf_t                   *cf,
    ngx_http_ceph_lb_srv_conf_t  *conf,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_str_t name;

    if (conf->zone.shm_zone != NULL) {
        return NGX_OK;
    }

    name.len = sizeof("ceph_lb_") - 1 + us->host.len;
    name.data = ngx_pnalloc(cf->pool, name.len);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_sprintf(name.data, "ceph_lb_%V", &us->host);

    return ngx_http_ceph_lb_zone_add(
        cf, &conf->zone, &name, NGX_HTTP_CEPH_LB_ZONE_SIZE);
}

char *
ngx_http_ceph_lb_method(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                       *value = cf->args->elts;
    ngx_uint_t                       i;
    ngx_http_ceph_lb_srv_conf_t     *lbcf = conf;
    ngx_http_compile_complex_value_t ccv;

    if (lbcf->method_set) {
        return "is duplicate";
    }

    for (i = 0; i < NGX_HTTP_CEPH_LB_METHODS; i++) {
        if (value[1].len == ngx_http_ceph_lb_methods[i].name.len
            && ngx_strncmp(
                   value[1].data, ngx_http_ceph_lb_methods[i].name.data,
                   value[1].len)
                   == 0)
        {
            break;
        }
    }

    if (i == NGX_HTTP_CEPH_LB_METHODS) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0,
            "method \"%V\" is not one of round_robin, least_conn, random, "
            "ewma, hash",
            &value[1]);
        return NGX_CONF_ERROR;
    }

    lbcf->method_set = 1;
    lbcf->policy.method = ngx_http_ceph_lb_methods[i].method;

    if ((lbcf->policy.method == CEPH_LB_HASH) != (cf->args->nelts == 3)) {
        return "takes a key with \"hash\", and only then";
    }

    if (lbcf->policy.method != CEPH_LB_HASH) {
        return NGX_CONF_OK;
    }

    lbcf->key = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (lbcf->key == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[2];
    ccv.complex_value = lbcf->key;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}

char *
ngx_http_ceph_lb_prefer_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                   *value = cf->args->elts;
    ngx_http_ceph_lb_srv_conf_t *lbcf = conf;

    if (lbcf->prefer_zone.len != 0) {
        return "is duplicate";
    }

    if (value[1].len == 0 || value[1].len >= CEPH_LB_ZONE_MAX) {
        return "takes a name of 1 to 64 bytes";
    }

    lbcf->prefer_zone = value[1];

    return NGX_CONF_OK;
}

/* Statuses are written as in "proxy_next_upstream": http_500. */
char *
ngx_http_ceph_lb_fail_on(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_int_t                    status;
    ngx_str_t                   *value = cf->args->elts;
    ngx_uint_t                   i;
    ngx_http_ceph_lb_srv_conf_t *lbcf = conf;

    if (lbcf->fail_on_set) {
        return "is duplicate";
    }

    lbcf->fail_on_set = 1;

    for (i = 1; i < cf->args->nelts; i++) {

        status = NGX_ERROR;

        if (value[i].len == sizeof("http_500") - 1
            && ngx_strncmp(value[i].data, "http_", 5) == 0)
        {
            status = ngx_atoi(value[i].data + 5, 3);
        }

        if (status < 400 || status >= NGX_HTTP_CEPH_LB_STATUSES) {
            ngx_conf_log_error(
                NGX_LOG_EMERG, cf, 0,
                "\"%V\" is not a status from http_400 to http_599", &value[i]);
            return NGX_CONF_ERROR;
        }

        lbcf->fail_on[status / 8] |= (u_char) (1 << status % 8);
    }

    return NGX_CONF_OK;
}

char *
ngx_http_ceph_lb_timeout(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_int_t                    timeout;
    ngx_str_t                   *value = cf->args->elts;
    ngx_http_ceph_lb_srv_conf_t *lbcf = conf;

    if (lbcf->total_timeout != 0) {
        return "is duplicate";
    }

    timeout = ngx_parse_time(&value[1], 0);

    if (timeout == NGX_ERROR || timeout == 0) {
        return "is not a time above zero";
    }

    lbcf->total_timeout = (ngx_msec_t) timeout;

    return NGX_CONF_OK;
}

char *
ngx_http_ceph_lb_set_max_fails(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value)
{
    ngx_int_t n = ngx_atoi(value->data, value->len);

    if (n == NGX_ERROR || n > 1000000) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0,
            "max_fails=%V is not a number from 0 to 1000000", value);
        return NGX_CONF_ERROR;
    }

    conf->policy.max_fails = (uint32_t) n;

    return NGX_CONF_OK;
}

char *
ngx_http_ceph_lb_set_fail_timeout(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value)
{
    return ngx_http_ceph_lb_set_time(
        cf, "fail_timeout", value, &conf->policy.fail_timeout_ms);
}

char *
ngx_http_ceph_lb_set_slow_start(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value)
{
    return ngx_http_ceph_lb_set_time(
        cf, "slow_start", value, &conf->policy.slow_start_ms);
}

static char *
ngx_http_ceph_lb_set_time(
    ngx_conf_t *cf, const char *param, ngx_str_t *value, uint64_t *time)
{
    ngx_int_t ms = ngx_parse_time(value, 0);

    if (ms == NGX_ERROR || ms == 0) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0, "%s=%V is not a time above zero", param,
            value);
        return NGX_CONF_ERROR;
    }

    *time = (uint64_t) ms;

    return NGX_CONF_OK;
}

const char *
ngx_http_ceph_lb_option_without(const ngx_http_ceph_lb_srv_conf_t *conf)
{
    if (conf->stale != NGX_CONF_UNSET_MSEC) {
        return "\"ceph_lb_stale\" stands without \"ceph_lb\"";
    }

    if (conf->zone.shm_zone != NULL) {
        return "\"ceph_lb_zone\" stands without \"ceph_lb\"";
    }

    if (conf->method_set) {
        return "\"ceph_lb_method\" stands without \"ceph_lb\"";
    }

    if (conf->prefer_zone.len != 0) {
        return "\"ceph_lb_prefer_zone\" stands without \"ceph_lb\"";
    }

    if (conf->fail_on_set) {
        return "\"ceph_lb_fail_on\" stands without \"ceph_lb\"";
    }

    if (conf->total_timeout != 0) {
        return "\"ceph_lb_timeout\" stands without \"ceph_lb\"";
    }

    return NULL;
}
