#include "ngx_http_ceph_lb_zone.h"

#include <stdlib.h>

#include "ngx_http_ceph_lb_conf.h"

/*
 * Slots for each worker of a configuration: those of earlier ones may still be
 * finishing what they have.
 */
#define NGX_HTTP_CEPH_LB_SLOTS     4
#define NGX_HTTP_CEPH_LB_SLOTS_MIN 16

static ngx_int_t
ngx_http_ceph_lb_zone_init(ngx_shm_zone_t *shm_zone, void *data);
static uint32_t
ngx_http_ceph_lb_zone_slots(const ngx_http_ceph_lb_zone_t *zone);
static ngx_int_t
ngx_http_ceph_lb_zone_make_own(ngx_http_ceph_lb_zone_t *zone, size_t addresses);
static void ngx_http_ceph_lb_zone_is_short(
    ngx_http_ceph_lb_zone_t *zone, ngx_log_t *log, const char *of);
static ngx_shmtx_t            *
ngx_http_ceph_lb_zone_mutex(const ngx_http_ceph_lb_zone_t *zone);
static int ngx_http_ceph_lb_zone_is_alive(pid_t pid);

ngx_int_t
ngx_http_ceph_lb_zone_add(
    ngx_conf_t *cf, ngx_http_ceph_lb_zone_t *zone, ngx_str_t *name, size_t size)
{
    if (size < 8 * ngx_pagesize) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0, "zone \"%V\" is smaller than %uzk", name,
            8 * ngx_pagesize / 1024);
        return NGX_ERROR;
    }

    zone->cycle = cf->cycle;
    zone->slot = CEPH_LB_NO_SLOT;

    zone->shm_zone =
        ngx_shared_memory_add(cf, name, size, &ngx_http_ceph_lb_module);
    if (zone->shm_zone == NULL) {
        return NGX_ERROR;
    }

    if (zone->shm_zone->data != NULL) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0, "zone \"%V\" belongs to another upstream",
            name);
        return NGX_ERROR;
    }

    zone->shm_zone->init = ngx_http_ceph_lb_zone_init;
    zone->shm_zone->data = zone;

    return NGX_OK;
}

/* data is the zone of the same name and size in the cycle before, or NULL. */
static ngx_int_t
ngx_http_ceph_lb_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    size_t                   size;
    uint32_t                 slots;
    ngx_slab_pool_t         *pool = (ngx_slab_pool_t *) shm_zone->shm.addr;
    ngx_http_ceph_lb_zone_t *zone = shm_zone->data, *old = data;

    if (old != NULL) {
        zone->states = old->states;
        return NGX_OK;
    }

    if (shm_zone->shm.exists) {
        zone->states = pool->data;
        return NGX_OK;
    }

    /* All of it, in one piece. */

    size = (size_t) (pool->end - pool->start) / ngx_pagesize * ngx_pagesize;
    slots = ngx_http_ceph_lb_zone_slots(zone);

    if (ceph_lb_states_capacity(slots, size) == 0
        || (zone->states = ngx_slab_calloc(pool, size)) == NULL)
    {
        ngx_log_error(
            NGX_LOG_EMERG, shm_zone->shm.log, 0,
            "ceph_lb: zone \"%V\" is too small", &shm_zone->shm.name);
        return NGX_ERROR;
    }

    pool->data = zone->states;
    ceph_lb_states_init(
        zone->states, slots, ceph_lb_states_capacity(slots, size));

    return NGX_OK;
}

static uint32_t
ngx_http_ceph_lb_zone_slots(const ngx_http_ceph_lb_zone_t *zone)
{
    ngx_int_t        slots;
    ngx_core_conf_t *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(
        zone->cycle->conf_ctx, ngx_core_module);

    slots = ccf->worker_processes * NGX_HTTP_CEPH_LB_SLOTS;
    slots = ngx_max(slots, NGX_HTTP_CEPH_LB_SLOTS_MIN);

    return (uint32_t) ngx_min(slots, CEPH_LB_SLOTS_MAX);
}

void
ngx_http_ceph_lb_zone_enter(ngx_http_ceph_lb_zone_t *zone, ngx_log_t *log)
{
    ngx_shmtx_lock(ngx_http_ceph_lb_zone_mutex(zone));

    zone->slot = ceph_lb_states_take_slot(
        zone->states, ngx_pid, ngx_http_ceph_lb_zone_is_alive);

    ngx_shmtx_unlock(ngx_http_ceph_lb_zone_mutex(zone));

    if (zone->slot == CEPH_LB_NO_SLOT) {
        ngx_http_ceph_lb_zone_is_short(zone, log, "for so many workers");
    }
}

void
ngx_http_ceph_lb_zone_leave(ngx_http_ceph_lb_zone_t *zone)
{
    if (zone->slot != CEPH_LB_NO_SLOT) {
        ngx_shmtx_lock(ngx_http_ceph_lb_zone_mutex(zone));
        ceph_lb_states_give_slot_back(zone->states, zone->slot);
        ngx_shmtx_unlock(ngx_http_ceph_lb_zone_mutex(zone));

        zone->slot = CEPH_LB_NO_SLOT;
    }

    free(zone->own);
    zone->own = NULL;
}

ngx_int_t
ngx_http_ceph_lb_zone_bind(
    ngx_http_ceph_lb_zone_t *zone, ceph_lb_list_t *list, ngx_log_t *log)
{
    int rc;

    if (zone->slot != CEPH_LB_NO_SLOT) {
        ngx_shmtx_lock(ngx_http_ceph_lb_zone_mutex(zone));
        rc = ceph_lb_states_bind(zone->states, list, ngx_current_msec);
        ngx_shmtx_unlock(ngx_http_ceph_lb_zone_mutex(zone));

        if (rc == 0) {
            return NGX_OK;
        }

        ngx_http_ceph_lb_zone_is_short(zone, log, "for so many backends");
    }

    if (ngx_http_ceph_lb_zone_make_own(zone, list->total) != NGX_OK
        || ceph_lb_states_bind(zone->own, list, ngx_current_msec) != 0)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}

/* Memory that is not touched costs nothing: so it has room for every list. */
static ngx_int_t
ngx_http_ceph_lb_zone_make_own(ngx_http_ceph_lb_zone_t *zone, size_t addresses)
{
    uint32_t capacity = 2 * CEPH_LB_ROWS_MAX;

    if (zone->own == NULL) {
        zone->own = calloc(1, ceph_lb_states_size(1, capacity));
        if (zone->own == NULL) {
            return NGX_ERROR;
        }

        ceph_lb_states_init(zone->own, 1, capacity);
    }

    return addresses <= capacity ? NGX_OK : NGX_ERROR;
}

static void
ngx_http_ceph_lb_zone_is_short(
    ngx_http_ceph_lb_zone_t *zone, ngx_log_t *log, const char *of)
{
    if (zone->short_of) {
        return;
    }

    zone->short_of = 1;

    ngx_log_error(
        NGX_LOG_WARN, log, 0,
        "ceph_lb: zone \"%V\" has no room %s; this worker counts its own "
        "requests and failures only, until \"ceph_lb_zone\" is larger",
        &zone->shm_zone->shm.name, of);
}

int
ngx_http_ceph_lb_zone_slot(
    const ngx_http_ceph_lb_zone_t *zone, const ceph_lb_list_t *list)
{
    return list->states == zone->own ? 0 : zone->slot;
}

void
ngx_http_ceph_lb_zone_sweep(ngx_http_ceph_lb_zone_t *zone)
{
    if (zone->slot == CEPH_LB_NO_SLOT
        || !ngx_shmtx_trylock(ngx_http_ceph_lb_zone_mutex(zone)))
    {
        return;
    }

    ceph_lb_states_sweep(zone->states, ngx_http_ceph_lb_zone_is_alive);

    ngx_shmtx_unlock(ngx_http_ceph_lb_zone_mutex(zone));
}

ceph_lb_counters_t *
ngx_http_ceph_lb_zone_counters(ngx_http_ceph_lb_zone_t *zone)
{
    return &zone->states->counters;
}

/* nginx frees it when the worker that holds it dies. */
static ngx_shmtx_t *
ngx_http_ceph_lb_zone_mutex(const ngx_http_ceph_lb_zone_t *zone)
{
    return &((ngx_slab_pool_t *) zone->shm_zone->shm.addr)->mutex;
}

static int
ngx_http_ceph_lb_zone_is_alive(pid_t pid)
{
    return kill(pid, 0) == 0 || ngx_errno == NGX_EPERM;
}
