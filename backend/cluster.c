#include "cluster.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "executor.h"
#include "log.h"
#include "stop.h"
#include "xalloc.h"

#define RETRY_SECONDS  1
#define REMIND_SECONDS 30 /* between two lines that say the same of a cluster that stays away */
#define FSID_SIZE      37

struct cluster {
    struct cluster_options options;
    pthread_t thread;
    struct stop stop;

    atomic_int state;      /* enum cluster_state */
    rados_t rados;         /* these are written before the state is CLUSTER_READY, and never after */
    rados_ioctx_t *ioctxs; /* SPACE_COUNT for each loop */
    struct layout layout;
    char fsid[FSID_SIZE];
};

/*
 * Each operation passes from our loop to a thread of librados' messenger, from there to one that completes it, and
 * back. With more than one of each they wake each other more often, and small operations are a tenth slower. What the
 * configuration file says instead of librados' own defaults stays.
 */
static int use_few_threads(rados_t rados)
{
    static const struct {
        const char *option, *by_default;
    } threads[] = {{"ms_async_op_threads", "3"}, {"librados_thread_count", "2"}};
    char text[16];
    size_t i;
    int error = 0;

    for (i = 0; i < sizeof(threads) / sizeof(threads[0]) && error == 0; i++) {
        error = rados_conf_get(rados, threads[i].option, text, sizeof(text));
        if (error == 0 && strcmp(text, threads[i].by_default) == 0)
            error = rados_conf_set(rados, threads[i].option, "1");
    }
    return error;
}

/*
 * librados waits forever by default. Its throttles must never be what stops us, since they block the caller:
 * the event loops keep below them on their own (lane.h).
 */
static int configure(rados_t rados, unsigned timeout_seconds)
{
    static const char *const timeouts[] = {"client_mount_timeout", "rados_mon_op_timeout",
                                           "rados_osd_op_timeout"};
    char text[16];
    size_t i;
    int error = 0;

    snprintf(text, sizeof(text), "%u", timeout_seconds);
    for (i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]) && error == 0; i++)
        error = rados_conf_set(rados, timeouts[i], text);
    if (error == 0)
        error = rados_conf_set(rados, "objecter_inflight_ops", "16384");
    if (error == 0)
        error = rados_conf_set(rados, "objecter_inflight_op_bytes", "68719476736");
    if (error == 0)
        error = use_few_threads(rados);
    return error;
}

static int open_ioctx(struct cluster *cluster, enum cluster_space space, rados_ioctx_t *ioctx)
{
    static const char *const namespaces[SPACE_COUNT] = {[SPACE_HEADS] = "",
                                                        [SPACE_GC] = "gc",
                                                        [SPACE_INDEX] = "index",
                                                        [SPACE_UPLOADS] = "upload",
                                                        [SPACE_STRIPES] = "stripe"};
    const char *pool = space == SPACE_STRIPES ? cluster->options.data_pool : cluster->options.pool;
    int error = rados_ioctx_create(cluster->rados, pool, ioctx);

    if (error < 0)
        return error;
    rados_ioctx_set_namespace(*ioctx, namespaces[space]);
    /* A full pool must answer ENOSPC instead of holding the request back. */
    rados_set_pool_full_try(*ioctx);
    return 0;
}

static void close_ioctxs(struct cluster *cluster, unsigned count)
{
    while (count-- != 0)
        rados_ioctx_destroy(cluster->ioctxs[count]);
    free(cluster->ioctxs);
    cluster->ioctxs = NULL;
}

static int open_ioctxs(struct cluster *cluster)
{
    unsigned i, count = cluster->options.loops * SPACE_COUNT;

    cluster->ioctxs = xcalloc(count, sizeof(*cluster->ioctxs));
    for (i = 0; i < count; i++) {
        int error = open_ioctx(cluster, (enum cluster_space)(i % SPACE_COUNT), &cluster->ioctxs[i]);
        if (error < 0) {
            close_ioctxs(cluster, i);
            return error;
        }
    }
    return 0;
}

/* Reads or writes the pool's layout. A layout that is not for us is final, and said here. */
static int agree_on_layout(struct cluster *cluster)
{
    const char *refusal = NULL;
    rados_ioctx_t ioctx;
    int error = rados_ioctx_create(cluster->rados, cluster->options.pool, &ioctx);

    if (error < 0)
        return error;
    rados_ioctx_set_namespace(ioctx, "layout");
    rados_set_pool_full_try(ioctx);
    layout_init(&cluster->layout, cluster->options.data_pool);
    error = layout_agree(ioctx, &cluster->layout, &refusal);
    rados_ioctx_destroy(ioctx);
    if (refusal != NULL) {
        log_error("pool %s has a layout that cannot be used: %s", cluster->options.pool, refusal);
        atomic_store(&cluster->state, CLUSTER_REFUSED);
    }
    return error;
}

/* One attempt. On failure nothing is left open, and *what names the step that failed. */
static int connect_once(struct cluster *cluster, const char **what)
{
    int error;

    *what = "client name";
    error = rados_create2(&cluster->rados, "ceph", cluster->options.client_name, 0);
    if (error < 0)
        return error;

    *what = "configuration file";
    error = rados_conf_read_file(cluster->rados, cluster->options.conf_file);
    if (error >= 0) {
        *what = "CEPH_ARGS";
        error = rados_conf_parse_env(cluster->rados, NULL);
    }
    if (error >= 0) {
        *what = "time-outs";
        error = configure(cluster->rados, cluster->options.op_timeout_seconds);
    }
    if (error >= 0) {
        *what = "connection to the monitors";
        error = rados_connect(cluster->rados);
    }
    if (error >= 0) {
        *what = "layout of the pool";
        error = agree_on_layout(cluster);
    }
    if (error >= 0) {
        *what = "cluster id";
        error = rados_cluster_fsid(cluster->rados, cluster->fsid, sizeof(cluster->fsid));
    }
    if (error >= 0) {
        *what = "pool";
        error = open_ioctxs(cluster);
        if (error >= 0)
            return 0;
    }

    rados_shutdown(cluster->rados);
    return error;
}

static void *connect_until_done(void *argument)
{
    struct cluster *cluster = argument;
    int64_t reminded_ms = 0;
    int error_last = 0;

    for (;;) {
        const char *what;
        int error = connect_once(cluster, &what);

        if (error == 0) {
            atomic_store(&cluster->state, CLUSTER_READY);
            log_info("connected to Ceph cluster %s, pool %s", cluster->fsid, cluster->options.pool);
            return NULL;
        }
        if (atomic_load(&cluster->state) == CLUSTER_REFUSED)
            return NULL;
        if (error != error_last || clock_monotonic_ms() - reminded_ms >= REMIND_SECONDS * 1000) {
            log_warn("waiting for Ceph (as %s, pool %s): %s: %s; trying again every second",
                     cluster->options.client_name, cluster->options.pool, what, strerror(-error));
            error_last = error;
            reminded_ms = clock_monotonic_ms();
        }
        if (stop_wait(&cluster->stop, RETRY_SECONDS))
            return NULL;
    }
}

struct cluster *cluster_start(const struct cluster_options *options)
{
    struct cluster *cluster = xcalloc(1, sizeof(*cluster));

    cluster->options = *options;
    stop_init(&cluster->stop);
    atomic_init(&cluster->state, CLUSTER_CONNECTING);
    if (pthread_create(&cluster->thread, NULL, connect_until_done, cluster) != 0) {
        log_error("cannot start a thread: %s", strerror(errno));
        abort();
    }
    return cluster;
}

void cluster_stop(struct cluster *cluster)
{
    stop_request(&cluster->stop);
    pthread_join(cluster->thread, NULL);
    /* It may have connected just now, and is then not to be taken down any more. */
    if (cluster_is_ready(cluster))
        return;
    stop_destroy(&cluster->stop);
    free(cluster);
}

enum cluster_state cluster_state(const struct cluster *cluster)
{
    return (enum cluster_state)atomic_load(&cluster->state);
}

const struct layout *cluster_layout(const struct cluster *cluster)
{
    return &cluster->layout;
}

const char *cluster_pool(const struct cluster *cluster)
{
    return cluster->options.pool;
}

const char *cluster_fsid(const struct cluster *cluster)
{
    return cluster->fsid;
}

rados_ioctx_t cluster_ioctx(struct cluster *cluster, unsigned loop, enum cluster_space space)
{
    return cluster->ioctxs[loop * SPACE_COUNT + space];
}

int cluster_open_ioctx(struct cluster *cluster, enum cluster_space space, rados_ioctx_t *ioctx)
{
    if (!cluster_is_ready(cluster))
        return -ENOTCONN;
    return open_ioctx(cluster, space, ioctx);
}

int cluster_monitor_command(struct cluster *cluster, const char *command, struct buffer *answer)
{
    char *text = NULL, *explanation = NULL;
    size_t text_len = 0, explanation_len = 0;
    int error;

    if (!cluster_is_ready(cluster))
        return -ENOTCONN;
    error = rados_mon_command(cluster->rados, &command, 1, NULL, 0, &text, &text_len, &explanation,
                              &explanation_len);
    if (error >= 0)
        buffer_append(answer, text, text_len);
    rados_buffer_free(text);
    rados_buffer_free(explanation);
    return error < 0 ? error : 0;
}
