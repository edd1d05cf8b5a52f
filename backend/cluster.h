#ifndef CEPH_LB_CLUSTER_H
#define CEPH_LB_CLUSTER_H

/*
 * The connection to Ceph: one librados client for the process, and one pool.
 *
 * A thread connects in the background and tries again for as long as it takes, so a backend can start before
 * its cluster. Once connected, librados itself comes back after every outage.
 */

#include <rados/librados.h>
#include <stdbool.h>

#include "buffer.h"
#include "layout.h"

struct cluster;

/* Where an object lives: a pool and a namespace. */
enum cluster_space {
    SPACE_HEADS,   /* --pool, the default namespace: what `rados ls` shows */
    SPACE_GC,      /* --pool, "gc" */
    SPACE_INDEX,   /* --pool, "index" */
    SPACE_UPLOADS, /* --pool, "upload" */
    SPACE_STRIPES, /* --data-pool, "stripe" */
    SPACE_COUNT,
};

enum cluster_state {
    CLUSTER_CONNECTING,
    CLUSTER_READY,   /* for good */
    CLUSTER_REFUSED, /* the pool's layout is not for us; the log says why */
};

struct cluster_options {
    const char *conf_file;   /* NULL: librados' own search, CEPH_CONF included */
    const char *client_name; /* "client.NAME" */
    const char *pool;
    const char *data_pool;
    unsigned op_timeout_seconds; /* after which any operation fails with ETIMEDOUT */
    unsigned loops;              /* event loops, each with an ioctx of its own */
};

/* Begins to connect and returns at once. The options' strings must live as long as the cluster. */
struct cluster *cluster_start(const struct cluster_options *options);

/*
 * Stops trying to connect, and frees. Not for a cluster that is ready: one of librados' threads may still be on its way
 * out of the completion of an operation whose result is here already, and shutting librados down then frees what that
 * thread uses. A process that has been connected has to end without it.
 */
void cluster_stop(struct cluster *cluster);

/* Any thread. */
enum cluster_state cluster_state(const struct cluster *cluster);

/* True once connected with the pools opened; it never becomes false again. Any thread. */
static inline bool cluster_is_ready(const struct cluster *cluster)
{
    return cluster_state(cluster) == CLUSTER_READY;
}

const char *cluster_pool(const struct cluster *cluster);

/* The cluster's id as text; only when ready. */
const char *cluster_fsid(const struct cluster *cluster);

/* How files lie there; only when ready. */
const struct layout *cluster_layout(const struct cluster *cluster);

/* The ioctx of an event loop, used by that loop only; only when ready. */
rados_ioctx_t cluster_ioctx(struct cluster *cluster, unsigned loop, enum cluster_space space);

/* A new ioctx for a thread that makes blocking calls, to be given to rados_ioctx_destroy. Negative errno when
 * Ceph is not connected yet. */
int cluster_open_ioctx(struct cluster *cluster, enum cluster_space space, rados_ioctx_t *ioctx);

/* A monitor command; blocks up to the time-out. Appends the answer. 0 or a negative errno. */
int cluster_monitor_command(struct cluster *cluster, const char *command, struct buffer *answer);

#endif
