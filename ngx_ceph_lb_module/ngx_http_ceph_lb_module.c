/*
 * The directives "ceph_lb" and "ceph_lb_stale", the variables, and the module
 * itself.
 */

#include "ngx_http_ceph_lb_mysql.h"
#include "ngx_http_ceph_lb_options.h"
#include "ngx_http_ceph_lb_phase.h"
#include "ngx_http_ceph_lb_status.h"

#define NGX_HTTP_CEPH_LB_PASSWORD_MAX 1024

/* The first certificate must begin within as many bytes of "ssl_ca". */
#define NGX_HTTP_CEPH_LB_CA_MAX 65536

/*
 * Which of the rows are of dead backends is judged here, by seen_at and now_at
 * (ceph_lb_table_leave_out_unseen): in the query it would take the server as
 * long as all the rest of it.
 */
static ngx_str_t ngx_http_ceph_lb_default_query = ngx_string(
    "SELECT address, port, weight, state, backup, max_conns, zone, "
    "UNIX_TIMESTAMP(seen) AS seen_at, UNIX_TIMESTAMP(NOW(6)) AS now_at "
    "FROM addresses");

/* A parameter NAME=VALUE of "ceph_lb". */
typedef struct {
    ngx_str_t name;
    char *(*set)(
        ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value);
} ngx_http_ceph_lb_param_t;

static char *ngx_http_ceph_lb(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_ceph_lb_check_block(ngx_conf_t *cf);
static char *
ngx_http_ceph_lb_set_url(ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf);
static char *
ngx_http_ceph_lb_set_params(ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf);
static char *ngx_http_ceph_lb_set_password(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value);
static char *ngx_http_ceph_lb_set_connections(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value);
static char *ngx_http_ceph_lb_set_timeout(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value);
static char *ngx_http_ceph_lb_set_query(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value);
static char *ngx_http_ceph_lb_set_version_query(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value);
static char *ngx_http_ceph_lb_set_statement(
    ngx_conf_t *cf, ngx_str_t *statement, const char *param, ngx_str_t *value);
static char *ngx_http_ceph_lb_set_ssl_ca(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value);
static ssize_t ngx_http_ceph_lb_read_file(
    ngx_conf_t *cf,
    const char *param,
    ngx_str_t  *value,
    u_char     *buf,
    size_t      size);
static char *
ngx_http_ceph_lb_stale(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static void     *ngx_http_ceph_lb_create_srv_conf(ngx_conf_t *cf);
static ngx_int_t ngx_http_ceph_lb_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_ceph_lb_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_ceph_lb_check_upstream(
    ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_ceph_lb_init_process(ngx_cycle_t *cycle);
static void      ngx_http_ceph_lb_exit_process(ngx_cycle_t *cycle);
static ngx_http_ceph_lb_srv_conf_t                  *
ngx_http_ceph_lb_next_conf(ngx_cycle_t *cycle, ngx_uint_t *i);
static ngx_int_t ngx_http_ceph_lb_variable(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data);

static ngx_http_ceph_lb_param_t ngx_http_ceph_lb_params[] = {

    {ngx_string("password_file="), ngx_http_ceph_lb_set_password},
    {ngx_string("connections="), ngx_http_ceph_lb_set_connections},
    {ngx_string("timeout="), ngx_http_ceph_lb_set_timeout},
    {ngx_string("query="), ngx_http_ceph_lb_set_query},
    {ngx_string("version_query="), ngx_http_ceph_lb_set_version_query},
    {ngx_string("ssl_ca="), ngx_http_ceph_lb_set_ssl_ca},
    {ngx_string("max_fails="), ngx_http_ceph_lb_set_max_fails},
    {ngx_string("fail_timeout="), ngx_http_ceph_lb_set_fail_timeout},
    {ngx_string("slow_start="), ngx_http_ceph_lb_set_slow_start},
};

#define NGX_HTTP_CEPH_LB_PARAMS                                                \
    (sizeof(ngx_http_ceph_lb_params) / sizeof(ngx_http_ceph_lb_param_t))

static ngx_command_t ngx_http_ceph_lb_commands[] = {

    {ngx_string("ceph_lb"), NGX_HTTP_UPS_CONF | NGX_CONF_1MORE,
     ngx_http_ceph_lb, NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},

    {ngx_string("ceph_lb_stale"), NGX_HTTP_UPS_CONF | NGX_CONF_TAKE1,
     ngx_http_ceph_lb_stale, NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},

    {ngx_string("ceph_lb_zone"), NGX_HTTP_UPS_CONF | NGX_CONF_TAKE2,
     ngx_http_ceph_lb_zone_directive, NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},

    {ngx_string("ceph_lb_method"), NGX_HTTP_UPS_CONF | NGX_CONF_TAKE12,
     ngx_http_ceph_lb_method, NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},

    {ngx_string("ceph_lb_prefer_zone"), NGX_HTTP_UPS_CONF | NGX_CONF_TAKE1,
     ngx_http_ceph_lb_prefer_zone, NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},

    {ngx_string("ceph_lb_fail_on"), NGX_HTTP_UPS_CONF | NGX_CONF_1MORE,
     ngx_http_ceph_lb_fail_on, NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},

    {ngx_string("ceph_lb_timeout"), NGX_HTTP_UPS_CONF | NGX_CONF_TAKE1,
     ngx_http_ceph_lb_timeout, NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},

    {ngx_string("ceph_lb_status"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS,
     ngx_http_ceph_lb_status, 0, 0, NULL},

    ngx_null_command};

static ngx_http_module_t ngx_http_ceph_lb_module_ctx = {
    ngx_http_ceph_lb_add_variables, /* preconfiguration */
    ngx_http_ceph_lb_init,          /* postconfiguration */

    NULL, /* create main configuration */
    NULL, /* init main configuration */

    ngx_http_ceph_lb_create_srv_conf, /* create server configuration */
    NULL,                             /* merge server configuration */

    NULL, /* create location configuration */
    NULL  /* merge location configuration */
};

ngx_module_t ngx_http_ceph_lb_module = {
    NGX_MODULE_V1,
    &ngx_http_ceph_lb_module_ctx,  /* module context */
    ngx_http_ceph_lb_commands,     /* module directives */
    NGX_HTTP_MODULE,               /* module type */
    NULL,                          /* init master */
    NULL,                          /* init module */
    ngx_http_ceph_lb_init_process, /* init process */
    NULL,                          /* init thread */
    NULL,                          /* exit thread */
    ngx_http_ceph_lb_exit_process, /* exit process */
    NULL,                          /* exit master */
    NGX_MODULE_V1_PADDING};

enum {
    NGX_HTTP_CEPH_LB_WAIT_TIME,
    NGX_HTTP_CEPH_LB_LIST_AGE,
    NGX_HTTP_CEPH_LB_BACKENDS,
    NGX_HTTP_CEPH_LB_STALE,
    NGX_HTTP_CEPH_LB_ZONE,
};

static ngx_http_variable_t ngx_http_ceph_lb_vars[] = {

    {ngx_string("ceph_lb_wait_time"), NULL, ngx_http_ceph_lb_variable,
     NGX_HTTP_CEPH_LB_WAIT_TIME, NGX_HTTP_VAR_NOCACHEABLE, 0},

    {ngx_string("ceph_lb_list_age"), NULL, ngx_http_ceph_lb_variable,
     NGX_HTTP_CEPH_LB_LIST_AGE, NGX_HTTP_VAR_NOCACHEABLE, 0},

    {ngx_string("ceph_lb_backends"), NULL, ngx_http_ceph_lb_variable,
     NGX_HTTP_CEPH_LB_BACKENDS, NGX_HTTP_VAR_NOCACHEABLE, 0},

    {ngx_string("ceph_lb_stale"), NULL, ngx_http_ceph_lb_variable,
     NGX_HTTP_CEPH_LB_STALE, NGX_HTTP_VAR_NOCACHEABLE, 0},

    {ngx_string("ceph_lb_zone"), NULL, ngx_http_ceph_lb_variable,
     NGX_HTTP_CEPH_LB_ZONE, NGX_HTTP_VAR_NOCACHEABLE, 0},

    ngx_http_null_variable};

static ngx_int_t
ngx_http_ceph_lb_variable(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                 *p;
    ngx_http_ceph_lb_ctx_t *ctx;

    ctx = ngx_http_ceph_lb_find_ctx(r);

    if (ctx == NULL || ctx->waiter.waiting || ctx->reading
        || (ctx->waiter.list == NULL
            && (data == NGX_HTTP_CEPH_LB_LIST_AGE
                || data == NGX_HTTP_CEPH_LB_BACKENDS)))
    {
        v->not_found = 1;
        return NGX_OK;
    }

    if (data == NGX_HTTP_CEPH_LB_ZONE) {
        v->data = ctx->zone.data;
        v->len = (unsigned) ctx->zone.len;
        v->valid = 1;
        v->no_cacheable = 0;
        v->not_found = ctx->zone.len == 0;

        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;

    switch (data) {

    case NGX_HTTP_CEPH_LB_WAIT_TIME:
        p = ngx_sprintf(
            p, "%T.%03M", (time_t) (ctx->waiter.wait_time / 1000),
            ctx->waiter.wait_time % 1000);
        break;

    case NGX_HTTP_CEPH_LB_LIST_AGE:
        p = ngx_sprintf(
            p, "%T.%03M", (time_t) (ctx->waiter.list_age / 1000),
            ctx->waiter.list_age % 1000);
        break;

    case NGX_HTTP_CEPH_LB_BACKENDS:
        p = ngx_sprintf(p, "%uz", ctx->waiter.list->count);
        break;

    default: /* NGX_HTTP_CEPH_LB_STALE */
        p = ngx_sprintf(p, "%ui", (ngx_uint_t) ctx->waiter.stale);
    }

    v->len = p - v->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}

static ngx_int_t
ngx_http_ceph_lb_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                   i = 0, used = 0;
    ngx_http_ceph_lb_srv_conf_t *conf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    while ((conf = ngx_http_ceph_lb_next_conf(cycle, &i)) != NULL) {

        if (!used && ngx_http_ceph_lb_mysql_init(cycle->log) != NGX_OK) {
            return NGX_ERROR;
        }

        used = 1;

        if (ngx_event_actions.notify == NULL
            || !(ngx_event_flags & NGX_USE_CLEAR_EVENT))
        {
            ngx_log_error(
                NGX_LOG_EMERG, cycle->log, 0,
                "\"ceph_lb\" needs an event method that threads can "
                "notify, such as \"use epoll\"");
            return NGX_ERROR;
        }

        if (ngx_http_ceph_lb_lookup_start(conf) == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}

static void
ngx_http_ceph_lb_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                   i = 0, used = 0;
    ngx_http_ceph_lb_srv_conf_t *conf;

    while ((conf = ngx_http_ceph_lb_next_conf(cycle, &i)) != NULL) {
        if (conf->lookup != NULL) {
            ngx_http_ceph_lb_lookup_stop(conf->lookup);
            used = 1;
        }
    }

    if (used) {
        ngx_http_ceph_lb_mysql_done();
    }
}

/* The configuration of the next upstream with "ceph_lb", from index *i on. */
static ngx_http_ceph_lb_srv_conf_t *
ngx_http_ceph_lb_next_conf(ngx_cycle_t *cycle, ngx_uint_t *i)
{
    ngx_http_ceph_lb_srv_conf_t   *conf;
    ngx_http_upstream_srv_conf_t **us;
    ngx_http_upstream_main_conf_t *umcf;

    umcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_upstream_module);
    if (umcf == NULL) {
        return NULL;
    }

    us = umcf->upstreams.elts;

    while (*i < umcf->upstreams.nelts) {

        /* An upstream that only a "proxy_pass" names has no block. */

        if (us[*i]->srv_conf == NULL) {
            (*i)++;
            continue;
        }

        conf = ngx_http_conf_upstream_srv_conf(
            us[(*i)++], ngx_http_ceph_lb_module);

        if (conf->name.len != 0) {
            return conf;
        }
    }

    return NULL;
}

static void *
ngx_http_ceph_lb_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_ceph_lb_srv_conf_t *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_ceph_lb_srv_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->stale = NGX_CONF_UNSET_MSEC;
    conf->policy.max_fails = 1;
    conf->policy.fail_timeout_ms = 10000;
    ngx_str_set(&conf->prefer_zone, "");

    return conf;
}

static ngx_int_t
ngx_http_ceph_lb_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t *var, *v;

    for (v = ngx_http_ceph_lb_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}

static char *
ngx_http_ceph_lb(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_ceph_lb_srv_conf_t  *lbcf = conf;
    ngx_http_upstream_server_t   *server;
    ngx_http_upstream_srv_conf_t *us;

    if (lbcf->name.len != 0) {
        return "is duplicate";
    }

    if (ngx_http_ceph_lb_check_block(cf) != NGX_CONF_OK
        || ngx_http_ceph_lb_set_url(cf, lbcf) != NGX_CONF_OK
        || ngx_http_ceph_lb_set_params(cf, lbcf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    lbcf->thread_pool = ngx_thread_pool_add(cf, NULL);
    if (lbcf->thread_pool == NULL) {
        return NGX_CONF_ERROR;
    }

    us = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    us->peer.init_upstream = ngx_http_ceph_lb_init_upstream;
    us->flags = NGX_HTTP_UPSTREAM_CREATE;

    /* nginx refuses a block without servers; this one is never asked. */

    server = ngx_array_push(us->servers);
    if (server == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(server, sizeof(ngx_http_upstream_server_t));
    server->name = lbcf->name;
    server->down = 1;

    return NGX_CONF_OK;
}

/* What stands before "ceph_lb"; what stands behind it is seen at the end. */
static char *
ngx_http_ceph_lb_check_block(ngx_conf_t *cf)
{
    ngx_http_upstream_srv_conf_t *us;

    us = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    if (us->peer.init_upstream != NULL) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0,
            "\"ceph_lb\" must come before \"keepalive\", and "
            "no other balancing method may stand in "
            "upstream \"%V\"",
            &us->host);
        return NGX_CONF_ERROR;
    }

    if (us->servers->nelts != 0) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0,
            "\"server\" may not stand beside \"ceph_lb\" in "
            "upstream \"%V\"",
            &us->host);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}

static char *
ngx_http_ceph_lb_set_url(ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf)
{
    ngx_str_t  *value = cf->args->elts;
    const char *error;

    error = ceph_lb_url_parse(&conf->url, (char *) value[1].data, value[1].len);
    if (error != NULL) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0, "the URL \"%V\" %s", &value[1], error);
        return NGX_CONF_ERROR;
    }

    conf->name = value[1];

    return NGX_CONF_OK;
}

static char *
ngx_http_ceph_lb_set_params(ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf)
{
    ngx_str_t                *arg = cf->args->elts, value;
    ngx_uint_t                i, n, seen = 0;
    ngx_http_ceph_lb_param_t *param = ngx_http_ceph_lb_params;

    ngx_str_set(&conf->password, "");
    conf->query = ngx_http_ceph_lb_default_query;
    conf->connections = 4;
    conf->timeout = 2000;

    for (i = 2; i < cf->args->nelts; i++) {

        for (n = 0; n < NGX_HTTP_CEPH_LB_PARAMS; n++) {
            if (ngx_strncmp(arg[i].data, param[n].name.data, param[n].name.len)
                == 0) {
                break;
            }
        }

        if (n == NGX_HTTP_CEPH_LB_PARAMS) {
            ngx_conf_log_error(
                NGX_LOG_EMERG, cf, 0, "unknown parameter \"%V\" of \"ceph_lb\"",
                &arg[i]);
            return NGX_CONF_ERROR;
        }

        if (seen & ((ngx_uint_t) 1 << n)) {
            ngx_conf_log_error(
                NGX_LOG_EMERG, cf, 0,
                "duplicate parameter \"%V\" of \"ceph_lb\"", &arg[i]);
            return NGX_CONF_ERROR;
        }

        seen |= (ngx_uint_t) 1 << n;

        value.data = arg[i].data + param[n].name.len;
        value.len = arg[i].len - param[n].name.len;

        if (param[n].set(cf, conf, &value) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}

static char *
ngx_http_ceph_lb_set_password(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value)
{
    ssize_t n;
    u_char  buf[NGX_HTTP_CEPH_LB_PASSWORD_MAX + 1];

    n = ngx_http_ceph_lb_read_file(
        cf, "password_file", value, buf, sizeof(buf));
    if (n == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    if (n > NGX_HTTP_CEPH_LB_PASSWORD_MAX) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0,
            "password_file \"%V\" is longer than %d bytes", value,
            NGX_HTTP_CEPH_LB_PASSWORD_MAX);
        return NGX_CONF_ERROR;
    }

    while (n > 0 && (buf[n - 1] == LF || buf[n - 1] == CR)) {
        n--;
    }

    if (n == 0) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0, "password_file \"%V\" is empty", value);
        return NGX_CONF_ERROR;
    }

    conf->password.len = n;
    conf->password.data = ngx_pnalloc(cf->pool, n + 1);
    if (conf->password.data == NULL) {
        return NGX_CONF_ERROR;
    }

    (void) ngx_cpystrn(conf->password.data, buf, n + 1);
    ngx_explicit_memzero(buf, sizeof(buf));

    return NGX_CONF_OK;
}

static char *
ngx_http_ceph_lb_set_connections(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value)
{
    ngx_int_t n;

    n = ngx_atoi(value->data, value->len);

    if (n == NGX_ERROR || n < 1 || n > 64) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0,
            "connections=\"%V\" is not a number from 1 to 64", value);
        return NGX_CONF_ERROR;
    }

    conf->connections = n;

    return NGX_CONF_OK;
}

static char *
ngx_http_ceph_lb_set_timeout(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value)
{
    ngx_int_t timeout;

    timeout = ngx_parse_time(value, 0);

    if (timeout == NGX_ERROR || timeout == 0) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0, "timeout=\"%V\" is not a time above zero",
            value);
        return NGX_CONF_ERROR;
    }

    conf->timeout = timeout;

    return NGX_CONF_OK;
}

static char *
ngx_http_ceph_lb_set_query(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value)
{
    return ngx_http_ceph_lb_set_statement(cf, &conf->query, "query", value);
}

static char *
ngx_http_ceph_lb_set_version_query(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value)
{
    return ngx_http_ceph_lb_set_statement(
        cf, &conf->version_query, "version_query", value);
}

static char *
ngx_http_ceph_lb_set_statement(
    ngx_conf_t *cf, ngx_str_t *statement, const char *param, ngx_str_t *value)
{
    size_t i;

    for (i = 0; i < value->len && value->data[i] <= ' '; i++) {
        /* void */
    }

    if (i == value->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s=\"\" is empty", param);
        return NGX_CONF_ERROR;
    }

    *statement = *value;

    return NGX_CONF_OK;
}

static char *
ngx_http_ceph_lb_set_ssl_ca(
    ngx_conf_t *cf, ngx_http_ceph_lb_srv_conf_t *conf, ngx_str_t *value)
{
    u_char *buf;
    ssize_t n;

    if (conf->url.path[0] != '\0') {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0,
            "ssl_ca=\"%V\" has no meaning with a unix socket", value);
        return NGX_CONF_ERROR;
    }

    buf = ngx_palloc(cf->temp_pool, NGX_HTTP_CEPH_LB_CA_MAX);
    if (buf == NULL) {
        return NGX_CONF_ERROR;
    }

    n = ngx_http_ceph_lb_read_file(
        cf, "ssl_ca", value, buf, NGX_HTTP_CEPH_LB_CA_MAX);
    if (n == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    if (ngx_strnstr(buf, "-----BEGIN CERTIFICATE-----", n) == NULL) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0,
            "ssl_ca \"%V\" holds no certificate in PEM form", value);
        return NGX_CONF_ERROR;
    }

    conf->ssl_ca = *value;

    return NGX_CONF_OK;
}

/*
 * Reads at most size bytes.  A relative path is made absolute, as in other
 * directives, by the directory of the configuration.
 */
static ssize_t
ngx_http_ceph_lb_read_file(
    ngx_conf_t *cf,
    const char *param,
    ngx_str_t  *value,
    u_char     *buf,
    size_t      size)
{
    ssize_t  n;
    ngx_fd_t fd;

    if (value->len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s= names no file", param);
        return NGX_ERROR;
    }

    if (ngx_conf_full_name(cf->cycle, value, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    fd = ngx_open_file(value->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, ngx_errno, "%s \"%V\" cannot be opened", param,
            value);
        return NGX_ERROR;
    }

    n = ngx_read_fd(fd, buf, size);
    if (n == -1) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, ngx_errno, "%s \"%V\" cannot be read", param,
            value);
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(
            NGX_LOG_ALERT, cf->log, ngx_errno,
            ngx_close_file_n " \"%V\" failed", value);
    }

    return n == -1 ? NGX_ERROR : n;
}

static char *
ngx_http_ceph_lb_stale(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_int_t                    stale;
    ngx_str_t                   *value = cf->args->elts;
    ngx_http_ceph_lb_srv_conf_t *lbcf = conf;

    if (lbcf->stale != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        lbcf->stale = 0;
        return NGX_CONF_OK;
    }

    stale = ngx_parse_time(&value[1], 0);

    if (stale == NGX_ERROR || stale == 0) {
        return "is neither \"off\" nor a time above zero";
    }

    lbcf->stale = stale;

    return NGX_CONF_OK;
}

static ngx_int_t
ngx_http_ceph_lb_init(ngx_conf_t *cf)
{
    ngx_uint_t                     i, used = 0;
    ngx_http_ceph_lb_srv_conf_t   *conf;
    ngx_http_upstream_srv_conf_t **us;
    ngx_http_upstream_main_conf_t *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    us = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (us[i]->srv_conf == NULL) {
            continue;
        }

        if (ngx_http_ceph_lb_check_upstream(cf, us[i]) != NGX_OK) {
            return NGX_ERROR;
        }

        conf = ngx_http_conf_upstream_srv_conf(us[i], ngx_http_ceph_lb_module);
        used |= conf->name.len != 0;
    }

    return used ? ngx_http_ceph_lb_phase_init(cf) : NGX_OK;
}

static ngx_int_t
ngx_http_ceph_lb_check_upstream(
    ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    const char                  *error = NULL;
    ngx_http_ceph_lb_srv_conf_t *conf;

    conf = ngx_http_conf_upstream_srv_conf(us, ngx_http_ceph_lb_module);

    if (conf->name.len == 0) {
        error = ngx_http_ceph_lb_option_without(conf);

    } else if (us->servers->nelts != 1) {
        error = "\"server\" may not stand beside \"ceph_lb\"";

#if (NGX_HTTP_UPSTREAM_ZONE)
    } else if (us->shm_zone != NULL) {
        error = "\"zone\" may not stand beside \"ceph_lb\"";
#endif

    } else if (!conf->initialized) {
        error = "another balancing method may not stand beside \"ceph_lb\"";
    }

    if (error != NULL) {
        ngx_log_error(
            NGX_LOG_EMERG, cf->log, 0, "%s in upstream \"%V\" in %s:%ui", error,
            &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }

    if (conf->stale == NGX_CONF_UNSET_MSEC) {
        conf->stale = 60000;
    }

    return conf->name.len != 0 ? ngx_http_ceph_lb_default_zone(cf, conf, us)
                               : NGX_OK;
}
