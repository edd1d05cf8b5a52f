#include "store.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "log.h"
#include "xalloc.h"

struct store *store_new(struct cluster *cluster, const struct store_options *options,
                        struct executor *const *homes)
{
    struct store *store = xcalloc(1, sizeof(*store));
    unsigned i;

    store->cluster = cluster;
    store->options = *options;
    store->lanes = xcalloc(options->loops, sizeof(*store->lanes));
    for (i = 0; i < options->loops; i++) {
        lane_init(&store->lanes[i], cluster, homes[i], options->loops, options->memory);
        store->lanes[i].operations = &store->counters.operations;
    }
    store->journal = journal_start(cluster);
    store->doubts = doubts_new();
    return store;
}

void store_stop(struct store *store)
{
    journal_stop(store->journal);
}

enum store_result store_result_of_errno(struct store *store, int error, const char *doing, const char *object)
{
    enum store_result result;

    switch (-error) {
    case ENOENT:
        return STORE_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
        result = STORE_FULL;
        break;
    case ETIMEDOUT:
    case EBUSY:
    case ENOTCONN:
    case ESHUTDOWN:
        result = STORE_UNAVAILABLE;
        break;
    default:
        result = STORE_FAILED;
        log_error("%s \"%s\": %s", doing, object, strerror(-error));
    }
    atomic_fetch_add_explicit(&store->counters.operations_failed, 1, memory_order_relaxed);
    return result;
}

int64_t store_deadline_ms(const struct store *store)
{
    return clock_monotonic_ms() + (int64_t)store->options.op_timeout_seconds * 1000;
}

#define PROBE_OBJECT "ceph-lb probe"

static struct store_probe *probe_of(struct rados_call *call)
{
    return (struct store_probe *)((char *)call - offsetof(struct store_probe, call));
}

static int launch_probe(struct rados_call *call, rados_ioctx_t ioctx, rados_completion_t completion)
{
    struct store_probe *probe = probe_of(call);

    probe->operation = rados_create_read_op();
    rados_read_op_stat(probe->operation, &probe->reading.size, &probe->reading.modified,
                       &probe->reading.stat_result);
    return rados_aio_read_op_operate(probe->operation, ioctx, completion, PROBE_OBJECT,
                                     LIBRADOS_OPERATION_NOFLAG);
}

static void on_probed(struct rados_call *call)
{
    struct store_probe *probe = probe_of(call);

    if (probe->operation != NULL)
        rados_release_read_op(probe->operation);
    probe->result = call->result >= 0 || call->result == -ENOENT
                        ? STORE_OK
                        : store_result_of_errno(probe->store, call->result, "cannot read", PROBE_OBJECT);
    probe->done(probe);
}

void store_probe_begin(struct store_probe *probe)
{
    probe->operation = NULL;
    probe->call.memory = 0;
    probe->call.deadline_ms = store_deadline_ms(probe->store);
    probe->call.launch = launch_probe;
    probe->call.done = on_probed;
    lane_call(&probe->store->lanes[probe->home->index], &probe->call);
}
