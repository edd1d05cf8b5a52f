#include "ngx_http_ceph_lb_idle.h"

#include <ngx_event.h>

static ngx_uint_t ngx_http_ceph_lb_idle_is_any_gone(
    const ceph_lb_list_t *old, const ceph_lb_list_t *list);
static ngx_uint_t ngx_http_ceph_lb_idle_is_gone(
    ngx_connection_t *c, const ceph_lb_list_t *old, const ceph_lb_list_t *list);

/*
 * The module "keepalive" keeps them to itself; but like every idle connection
 * they are marked, and closed by their read handler when "close" is set, which
 * is how nginx ends them when a worker exits.  An idle connection of a client
 * is told apart by the other end, which is no backend.
 */
void
ngx_http_ceph_lb_idle_close(
    const ceph_lb_list_t *old, const ceph_lb_list_t *list, ngx_log_t *log)
{
    ngx_uint_t        i;
    ngx_connection_t *c = ngx_cycle->connections;

    if (!ngx_http_ceph_lb_idle_is_any_gone(old, list)) {
        return;
    }

    for (i = 0; i < ngx_cycle->connection_n; i++) {
        if (c[i].fd == (ngx_socket_t) -1 || !c[i].idle || c[i].close
            || !ngx_http_ceph_lb_idle_is_gone(&c[i], old, list))
        {
            continue;
        }

        ngx_log_debug1(
            NGX_LOG_DEBUG_HTTP, log, 0,
            "ceph_lb: closing idle connection %d to a backend that has left",
            c[i].fd);

        c[i].close = 1;
        c[i].read->handler(c[i].read);
    }
}

static ngx_uint_t
ngx_http_ceph_lb_idle_is_any_gone(
    const ceph_lb_list_t *old, const ceph_lb_list_t *list)
{
    size_t i;

    for (i = 0; i < old->count; i++) {
        if (ceph_lb_list_find(list, &old->backends[i]) == -1) {
            return 1;
        }
    }

    return 0;
}

static ngx_uint_t
ngx_http_ceph_lb_idle_is_gone(
    ngx_connection_t *c, const ceph_lb_list_t *old, const ceph_lb_list_t *list)
{
    ceph_lb_backend_t b;

    ngx_memzero(&b, sizeof(b));
    b.socklen = sizeof(b.address);

    if (getpeername(c->fd, &b.address.any, &b.socklen) == -1) {
        return 0;
    }

    return ceph_lb_list_find(old, &b) != -1
        && ceph_lb_list_find(list, &b) == -1;
}
