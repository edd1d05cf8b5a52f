#include "ngx_http_ceph_lb_status_snapshot.h"

#include "ceph_lb_text.h"
#include "ngx_http_ceph_lb_lookup.h"

static ngx_http_ceph_lb_srv_conf_t *
ngx_http_ceph_lb_status_conf_of(ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_ceph_lb_status_collect_upstream(
    ngx_pool_t                         *pool,
    ngx_http_upstream_srv_conf_t       *us,
    ngx_http_ceph_lb_status_upstream_t *u);
static ngx_int_t ngx_http_ceph_lb_status_collect_settings(
    ngx_pool_t                         *pool,
    ngx_http_ceph_lb_srv_conf_t        *conf,
    ngx_http_ceph_lb_status_upstream_t *u);
static ngx_int_t ngx_http_ceph_lb_status_collect_list(
    ngx_pool_t                         *pool,
    ngx_http_ceph_lb_srv_conf_t        *conf,
    ngx_http_ceph_lb_status_upstream_t *u);
static ngx_int_t ngx_http_ceph_lb_status_collect_trouble(
    ngx_pool_t                         *pool,
    ngx_http_ceph_lb_lookup_t          *l,
    ngx_http_ceph_lb_status_upstream_t *u);
static void ngx_http_ceph_lb_status_collect_counters(
    ngx_http_ceph_lb_srv_conf_t *conf, ngx_http_ceph_lb_status_upstream_t *u);
static ngx_int_t ngx_http_ceph_lb_status_collect_backends(
    ngx_pool_t                         *pool,
    ngx_http_ceph_lb_srv_conf_t        *conf,
    ceph_lb_list_t                     *list,
    ngx_http_ceph_lb_status_upstream_t *u);
static ngx_int_t ngx_http_ceph_lb_status_text(
    ngx_pool_t *pool, ngx_str_t *to, const u_char *text, size_t len);
static void ngx_http_ceph_lb_status_word(ngx_str_t *to, const char *word);

static const ngx_str_t ngx_http_ceph_lb_list_state_words[] = {
    [NGX_HTTP_CEPH_LB_LIST_FRESH] = ngx_string("fresh"),
    [NGX_HTTP_CEPH_LB_LIST_STALE] = ngx_string("stale"),
    [NGX_HTTP_CEPH_LB_LIST_NONE] = ngx_string("none"),
};

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

ngx_http_ceph_lb_status_t *
ngx_http_ceph_lb_status_collect(ngx_http_request_t *r)
{
    ngx_time_t                    *now = ngx_timeofday();
    ngx_uint_t                     i;
    ngx_http_ceph_lb_status_t     *status;
    ngx_http_upstream_srv_conf_t **us;
    ngx_http_upstream_main_conf_t *umcf;

    umcf = ngx_http_get_module_main_conf(r, ngx_http_upstream_module);
    us = umcf->upstreams.elts;

    status = ngx_pcalloc(r->pool, sizeof(ngx_http_ceph_lb_status_t));
    if (status == NULL) {
        return NULL;
    }

    status->upstreams = ngx_pcalloc(
        r->pool,
        umcf->upstreams.nelts * sizeof(ngx_http_ceph_lb_status_upstream_t));
    if (status->upstreams == NULL) {
        return NULL;
    }

    status->generated.len = ngx_cached_http_log_iso8601.len;
    status->generated.data = ngx_cached_http_log_iso8601.data;
    status->generated_ms = (uint64_t) now->sec * 1000 + now->msec;
    status->pid = (uint64_t) ngx_pid;
    ngx_str_set(&status->server_version, NGINX_VERSION);
    ngx_str_set(&status->module_version, NGX_HTTP_CEPH_LB_VERSION);

    for (i = 0; i < umcf->upstreams.nelts; i++) {
        if (ngx_http_ceph_lb_status_conf_of(us[i]) != NULL
            && ngx_http_ceph_lb_status_collect_upstream(
                   r->pool, us[i], &status->upstreams[status->count++])
                   != NGX_OK)
        {
            return NULL;
        }
    }

    return status;
}

/* NULL for an upstream without "ceph_lb". */
static ngx_http_ceph_lb_srv_conf_t *
ngx_http_ceph_lb_status_conf_of(ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_ceph_lb_srv_conf_t *conf;

    /* An upstream that only a "proxy_pass" names has no block. */

    if (us->srv_conf == NULL) {
        return NULL;
    }

    conf = ngx_http_conf_upstream_srv_conf(us, ngx_http_ceph_lb_module);

    return conf->name.len != 0 ? conf : NULL;
}

static ngx_int_t
ngx_http_ceph_lb_status_collect_upstream(
    ngx_pool_t                         *pool,
    ngx_http_upstream_srv_conf_t       *us,
    ngx_http_ceph_lb_status_upstream_t *u)
{
    ngx_http_ceph_lb_srv_conf_t *conf = ngx_http_ceph_lb_status_conf_of(us);

    ngx_http_ceph_lb_status_collect_counters(conf, u);

    if (ngx_http_ceph_lb_status_text(
            pool, &u->name, us->host.data, us->host.len)
            != NGX_OK
        || ngx_http_ceph_lb_status_collect_settings(pool, conf, u) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_ceph_lb_status_collect_list(pool, conf, u);
}

static ngx_int_t
ngx_http_ceph_lb_status_collect_settings(
    ngx_pool_t                         *pool,
    ngx_http_ceph_lb_srv_conf_t        *conf,
    ngx_http_ceph_lb_status_upstream_t *u)
{
    ngx_str_t *zone = &conf->zone.shm_zone->shm.name;

    ngx_http_ceph_lb_status_word(
        &u->method, ceph_lb_method_word(conf->policy.method));

    u->degraded = conf->zone.slot == CEPH_LB_NO_SLOT;
    u->max_fails = conf->policy.max_fails;
    u->fail_timeout_ms = conf->policy.fail_timeout_ms;
    u->slow_start_ms = conf->policy.slow_start_ms;
    u->stale_ms = conf->stale;

    if (conf->key != NULL
        && ngx_http_ceph_lb_status_text(
               pool, &u->key, conf->key->value.data, conf->key->value.len)
               != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_ceph_lb_status_text(
            pool, &u->registry, conf->name.data, conf->name.len)
            != NGX_OK
        || ngx_http_ceph_lb_status_text(pool, &u->zone, zone->data, zone->len)
               != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_ceph_lb_status_text(
        pool, &u->prefer_zone, conf->prefer_zone.data, conf->prefer_zone.len);
}

static ngx_int_t
ngx_http_ceph_lb_status_collect_list(
    ngx_pool_t                         *pool,
    ngx_http_ceph_lb_srv_conf_t        *conf,
    ngx_http_ceph_lb_status_upstream_t *u)
{
    ceph_lb_list_t            *list = NULL;
    ngx_http_ceph_lb_lookup_t *l = conf->lookup;

    u->list_state = NGX_HTTP_CEPH_LB_LIST_NONE;
    u->age_ms = CEPH_LB_NONE;

    if (l == NULL) {
        return NGX_OK;
    }

    if (ngx_http_ceph_lb_status_collect_trouble(pool, l, u) != NGX_OK) {
        return NGX_ERROR;
    }

    list = ngx_http_ceph_lb_lookup_newest(l);

    if (list == NULL) {
        return NGX_OK;
    }

    if (!u->troubled) {
        u->list_state = NGX_HTTP_CEPH_LB_LIST_FRESH;

    } else if (ngx_http_ceph_lb_lookup_last_is_usable(l)) {
        u->list_state = NGX_HTTP_CEPH_LB_LIST_STALE;
    }

    u->age_ms = ngx_http_ceph_lb_lookup_age(l);
    u->usable = list->count;
    u->total = list->total;
    u->degraded |= list->states != conf->zone.states;

    return ngx_http_ceph_lb_status_collect_backends(pool, conf, list, u);
}

static ngx_int_t
ngx_http_ceph_lb_status_collect_trouble(
    ngx_pool_t                         *pool,
    ngx_http_ceph_lb_lookup_t          *l,
    ngx_http_ceph_lb_status_upstream_t *u)
{
    const char *why = ngx_http_ceph_lb_lookup_why(l), *error;

    if (why == NULL) {
        return NGX_OK;
    }

    u->troubled = 1;
    u->trouble_ms = ngx_http_ceph_lb_lookup_trouble_age(l);
    ngx_http_ceph_lb_status_word(&u->trouble, why);

    error = ngx_http_ceph_lb_lookup_error(l);

    return ngx_http_ceph_lb_status_text(
        pool, &u->error, (const u_char *) error, ngx_strlen(error));
}

static void
ngx_http_ceph_lb_status_collect_counters(
    ngx_http_ceph_lb_srv_conf_t *conf, ngx_http_ceph_lb_status_upstream_t *u)
{
    ceph_lb_counters_t *c = ngx_http_ceph_lb_zone_counters(&conf->zone);

    u->flights = GET(c->flights);
    u->passengers = GET(c->passengers);
    u->query_us = GET(c->query_us);
    u->query_us_max = GET(c->query_us_max);
    u->errors = GET(c->errors);
    u->stale = GET(c->stale);
    u->without = GET(c->without);
    u->changes = GET(c->changes);
    u->unavailable = GET(c->unavailable);

    u->passengers_per_flight = ceph_lb_mean(u->passengers * 1000, u->flights);
    u->query_us_mean = ceph_lb_mean(u->query_us, u->flights);
}

static ngx_int_t
ngx_http_ceph_lb_status_collect_backends(
    ngx_pool_t                         *pool,
    ngx_http_ceph_lb_srv_conf_t        *conf,
    ceph_lb_list_t                     *list,
    ngx_http_ceph_lb_status_upstream_t *u)
{
    size_t                             i;
    ceph_lb_backend_t                 *row;
    ngx_http_ceph_lb_status_backend_t *b;

    u->backends = ngx_pcalloc(
        pool, list->total * sizeof(ngx_http_ceph_lb_status_backend_t));
    if (u->backends == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < list->total; i++) {
        b = &u->backends[i];
        row = &list->backends[i];

        ceph_lb_report(&conf->policy, list, i, ngx_current_msec, &b->report);
        u->conditions[b->report.condition]++;

        b->address.len = row->name_len;
        b->address.data = (u_char *) row->name;

        ngx_http_ceph_lb_status_word(
            &b->row_state, ceph_lb_row_state_word(row->row_state));
        ngx_http_ceph_lb_status_word(
            &b->condition, ceph_lb_condition_word(b->report.condition));

        if (ngx_http_ceph_lb_status_text(
                pool, &b->zone, (u_char *) row->zone, ngx_strlen(row->zone))
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}

/* Clean, and copied only where it is not clean already. */
static ngx_int_t
ngx_http_ceph_lb_status_text(
    ngx_pool_t *pool, ngx_str_t *to, const u_char *text, size_t len)
{
    if (ceph_lb_is_clean(text, len)) {
        to->len = len;
        to->data = (u_char *) text;
        return NGX_OK;
    }

    to->data = ngx_pnalloc(pool, 3 * len);
    if (to->data == NULL) {
        return NGX_ERROR;
    }

    to->len = ceph_lb_clean(to->data, text, len);

    return NGX_OK;
}

static void
ngx_http_ceph_lb_status_word(ngx_str_t *to, const char *word)
{
    to->len = ngx_strlen(word);
    to->data = (u_char *) word;
}

const ngx_str_t *
ngx_http_ceph_lb_list_state_word(ngx_http_ceph_lb_list_state_e state)
{
    return &ngx_http_ceph_lb_list_state_words[state];
}
