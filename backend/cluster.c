#include "cluster.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "executor.h"
#include "log.h"
#include "xalloc.h"

#define RETRY_SECONDS  1
#define REMIND_SECONDS 30 /* between two lines that say the same of a cluster that stays away */
#define FSID_SIZE      37

struct cluster {
    struct cluster_options options;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t stop_requested;
    bool stopping; /* under mutex */

    atomic_bool ready;
    rados_t rados;         /* these three are written before `ready`, and never after */
    rados_ioctx_t *ioctxs; /* one per loop */
    char fsid[FSID_SIZE];
};

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
    return error;
}

static int open_ioctxs(struct cluster *cluster)
{
    unsigned i;

    cluster->ioctxs = xcalloc(cluster->options.loops, sizeof(*cluster->ioctxs));
    for (i = 0; i < cluster->options.loops; i++) {
        int error = rados_ioctx_create(cluster->rados, cluster->options.pool, &cluster->ioctxs[i]);
        if (error < 0) {
            while (i-- != 0)
                rados_ioctx_destroy(cluster->ioctxs[i]);
            free(cluster->ioctxs);
            cluster->ioctxs = NULL;
            return error;
        }
        /* A full pool must answer ENOSPC instead of holding the request back. */
        rados_set_pool_full_try(cluster->ioctxs[i]);
    }
    return 0;
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
        *what = "pool";
        error = open_ioctxs(cluster);
    }
    if (error >= 0) {
        error = rados_cluster_fsid(cluster->rados, cluster->fsid, sizeof(cluster->fsid));
        if (error >= 0)
            return 0;
        *what = "cluster id";
    }

    rados_shutdown(cluster->rados);
    return error;
}

/* True when the cluster is to be stopped. */
static bool wait_for_stop(struct cluster *cluster, unsigned seconds)
{
    struct timespec until;
    bool stopping;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&cluster->mutex);
    while (!cluster->stopping &&
           pthread_cond_timedwait(&cluster->stop_requested, &cluster->mutex, &until) == 0)
        ;
    stopping = cluster->stopping;
    pthread_mutex_unlock(&cluster->mutex);
    return stopping;
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
            atomic_store(&cluster->ready, true);
            log_info("connected to Ceph cluster %s, pool %s", cluster->fsid, cluster->options.pool);
            return NULL;
        }
        if (error != error_last || clock_monotonic_ms() - reminded_ms >= REMIND_SECONDS * 1000) {
            log_warn("waiting for Ceph (as %s, pool %s): %s: %s; trying again every second",
                     cluster->options.client_name, cluster->options.pool, what, strerror(-error));
            error_last = error;
            reminded_ms = clock_monotonic_ms();
        }
        if (wait_for_stop(cluster, RETRY_SECONDS))
            return NULL;
    }
}

struct cluster *cluster_start(const struct cluster_options *options)
{
    struct cluster *cluster = xcalloc(1, sizeof(*cluster));

    cluster->options = *options;
    pthread_mutex_init(&cluster->mutex, NULL);
    pthread_cond_init(&cluster->stop_requested, NULL);
    atomic_init(&cluster->ready, false);
    if (pthread_create(&cluster->thread, NULL, connect_until_done, cluster) != 0) {
        log_error("cannot start a thread: %s", strerror(errno));
        abort();
    }
    return cluster;
}

void cluster_stop(struct cluster *cluster)
{
    unsigned i;

    pthread_mutex_lock(&cluster->mutex);
    cluster->stopping = true;
    pthread_cond_signal(&cluster->stop_requested);
    pthread_mutex_unlock(&cluster->mutex);
    pthread_join(cluster->thread, NULL);

    if (cluster_is_ready(cluster)) {
        for (i = 0; i < cluster->options.loops; i++)
            rados_ioctx_destroy(cluster->ioctxs[i]);
        rados_shutdown(cluster->rados);
        free(cluster->ioctxs);
    }
    pthread_cond_destroy(&cluster->stop_requested);
    pthread_mutex_destroy(&cluster->mutex);
    free(cluster);
}

bool cluster_is_ready(const struct cluster *cluster)
{
    return atomic_load(&cluster->ready);
}

const char *cluster_pool(const struct cluster *cluster)
{
    return cluster->options.pool;
}

const char *cluster_fsid(const struct cluster *cluster)
{
    return cluster->fsid;
}

rados_ioctx_t cluster_ioctx(struct cluster *cluster, unsigned loop)
{
    return cluster->ioctxs[loop];
}

int cluster_open_ioctx(struct cluster *cluster, rados_ioctx_t *ioctx)
{
    if (!cluster_is_ready(cluster))
        return -ENOTCONN;
    return rados_ioctx_create(cluster->rados, cluster->options.pool, ioctx);
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
