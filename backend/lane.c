#include "lane.h"

#include <errno.h>
#include <stddef.h>

static void enqueue(struct call_queue *queue, struct rados_call *call)
{
    call->next = NULL;
    if (queue->first == NULL)
        queue->first = call;
    else
        queue->last->next = call;
    queue->last = call;
    queue->count++;
}

static struct rados_call *dequeue(struct call_queue *queue)
{
    struct rados_call *call = queue->first;
    queue->first = call->next;
    queue->count--;
    return call;
}

static void go_on(struct lane *lane);

static struct rados_call *call_of(struct task *task)
{
    return (struct rados_call *)((char *)task - offsetof(struct rados_call, homecoming));
}

/* Comes home on the loop. */
static void come_home(struct task *task)
{
    struct rados_call *call = call_of(task);
    struct lane *lane = call->lane;

    if (call->completion != NULL) {
        rados_aio_release(call->completion);
        lane->in_flight--;
        memory_budget_return(&lane->memory, call->memory);
    }
    call->done(call);
    go_on(lane);
}

static void send_home(struct rados_call *call, int result)
{
    call->result = result;
    call->homecoming.run = come_home;
    executor_submit(call->lane->home, &call->homecoming);
}

/* On a thread of librados: nothing but taking the result. */
static void on_complete(rados_completion_t completion, void *argument)
{
    struct rados_call *call = argument;

    call->version = rados_aio_get_version(completion);
    send_home(call, rados_aio_get_return_value(completion));
}

/* The memory has been taken. */
static void launch(struct lane *lane, struct rados_call *call)
{
    int result;

    if (!cluster_is_ready(lane->cluster) || clock_monotonic_ms() >= call->deadline_ms) {
        memory_budget_return(&lane->memory, call->memory);
        send_home(call, -ETIMEDOUT);
        return;
    }
    rados_aio_create_completion2(call, on_complete, &call->completion);
    lane->in_flight++;
    atomic_fetch_add_explicit(lane->operations, 1, memory_order_relaxed);
    result =
        call->launch(call, cluster_ioctx(lane->cluster, lane->home->index, call->space), call->completion);
    if (result < 0)
        send_home(call, result);
}

static void go_on(struct lane *lane)
{
    while (lane->in_flight < lane->in_flight_most && lane->waiting.first != NULL)
        launch(lane, dequeue(&lane->waiting));
    while (lane->in_flight < lane->in_flight_most && lane->waiting_for_memory.first != NULL &&
           memory_budget_take(&lane->memory, lane->waiting_for_memory.first->memory))
        launch(lane, dequeue(&lane->waiting_for_memory));
}

void lane_init(struct lane *lane, struct cluster *cluster, struct executor *home, unsigned loops,
               size_t memory)
{
    *lane = (struct lane){.cluster = cluster, .home = home};
    lane->memory.total = memory / loops;
    lane->in_flight_most = loops < LANE_CALLS_MAX ? LANE_CALLS_MAX / loops : 1;
}

void lane_call(struct lane *lane, struct rados_call *call)
{
    struct call_queue *queue = call->memory != 0 ? &lane->waiting_for_memory : &lane->waiting;

    call->lane = lane;
    call->completion = NULL;
    if (queue->count >= LANE_WAITING_MAX) {
        send_home(call, -EBUSY);
        return;
    }
    enqueue(queue, call);
    go_on(lane);
}

void lane_memory_returned(struct lane *lane)
{
    go_on(lane);
}
