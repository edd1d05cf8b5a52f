#include "ceph_lb_state.h"

#include <assert.h>
#include <string.h>

enum {
    MAGIC = 0x43654c01, /* changes with the layout */
    LINE = 64,          /* bytes of a line of the processor's cache */

    /* A sample counts for an eighth of the average. */
    LATENCY_SHIFT = 3,
};

static size_t           stride(uint32_t slots);
static uint32_t        *buckets_of(ceph_lb_states_t *states);
static ceph_lb_state_t *entry(const ceph_lb_states_t *states, uint32_t i);
static ceph_lb_state_t *find_or_take(
    ceph_lb_states_t *states, const ceph_lb_backend_t *b, uint64_t now);
static int has_address(const ceph_lb_state_t *s, const ceph_lb_backend_t *b);
static ceph_lb_state_t *take_entry(ceph_lb_states_t *states, uint64_t now);
static void             take_out(ceph_lb_states_t *states, ceph_lb_state_t *s);
static void             put_in(
                ceph_lb_states_t *states, ceph_lb_state_t *s, const ceph_lb_backend_t *b);
static void clear(ceph_lb_state_t *s);

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value)                                                      \
    atomic_store_explicit(&(field), value, memory_order_relaxed)

size_t
ceph_lb_states_size(uint32_t slots, uint32_t capacity)
{
    return sizeof(ceph_lb_states_t) + LINE
         + capacity * (sizeof(uint32_t) + stride(slots));
}

uint32_t
ceph_lb_states_capacity(uint32_t slots, size_t size)
{
    size_t fixed = ceph_lb_states_size(slots, 0);

    if (size < fixed) {
        return 0;
    }

    return (uint32_t) ((size - fixed) / (sizeof(uint32_t) + stride(slots)));
}

void
ceph_lb_states_init(ceph_lb_states_t *states, uint32_t slots, uint32_t capacity)
{
    states->slots = slots;
    states->capacity = capacity;
    states->magic = MAGIC;
}

int
ceph_lb_states_are_there(const ceph_lb_states_t *states, size_t size)
{
    return size >= sizeof(*states) && states->magic == MAGIC
        && states->slots <= CEPH_LB_SLOTS_MAX
        && ceph_lb_states_size(states->slots, states->capacity) <= size;
}

int
ceph_lb_states_take_slot(
    ceph_lb_states_t *states, pid_t pid, int (*is_alive)(pid_t pid))
{
    int slot;

    ceph_lb_states_sweep(states, is_alive);

    for (slot = 0; slot < (int) states->slots; slot++) {

        /* One that is no more had the same number. */

        if (GET(states->pids[slot]) == (int32_t) pid) {
            ceph_lb_states_give_slot_back(states, slot);
        }
    }

    for (slot = 0; slot < (int) states->slots; slot++) {
        if (GET(states->pids[slot]) == 0) {
            SET(states->pids[slot], (int32_t) pid);
            return slot;
        }
    }

    return CEPH_LB_NO_SLOT;
}

void
ceph_lb_states_give_slot_back(ceph_lb_states_t *states, int slot)
{
    uint32_t i;

    for (i = 0; i < states->used; i++) {
        SET(entry(states, i)->connections[slot], 0);
    }

    SET(states->pids[slot], 0);
}

void
ceph_lb_states_sweep(ceph_lb_states_t *states, int (*is_alive)(pid_t pid))
{
    int slot, pid;

    for (slot = 0; slot < (int) states->slots; slot++) {
        pid = GET(states->pids[slot]);

        if (pid != 0 && !is_alive(pid)) {
            ceph_lb_states_give_slot_back(states, slot);
        }
    }
}

int
ceph_lb_states_bind(
    ceph_lb_states_t *states, ceph_lb_list_t *list, uint64_t now)
{
    size_t             i;
    ceph_lb_state_t   *s;
    ceph_lb_backend_t *b;

    for (i = 0; i < list->total; i++) {
        b = &list->backends[i];

        s = find_or_take(states, b, now);
        if (s == NULL) {
            return -1;
        }

        SET(s->listed, now);

        if (i < list->count) {

            /* When all are new none of them is. */

            if (states->lists > 0 && GET(s->usable) + CEPH_LB_ABSENCE_MS < now)
            {
                SET(s->risen, now);
            }

            SET(s->usable, now);
        }

        b->state = s;
        b->generation = GET(s->generation);
    }

    states->lists++;
    list->states = states;

    return 0;
}

void
ceph_lb_states_touch(const ceph_lb_list_t *list, uint64_t now)
{
    size_t           i;
    ceph_lb_state_t *s;

    for (i = 0; i < list->total; i++) {
        s = ceph_lb_state_of(&list->backends[i]);
        if (s == NULL) {
            continue;
        }

        SET(s->listed, now);

        if (i < list->count) {
            SET(s->usable, now);
        }
    }
}

ceph_lb_state_t *
ceph_lb_state_of(const ceph_lb_backend_t *b)
{
    return GET(b->state->generation) == b->generation ? b->state : NULL;
}

uint32_t
ceph_lb_connections(const ceph_lb_states_t *states, const ceph_lb_state_t *s)
{
    uint32_t i, sum = 0;

    for (i = 0; i < states->slots; i++) {
        sum += atomic_load(&s->connections[i]);
    }

    return sum;
}

/*
 * Nobody else writes into the slot: so this needs no atomic addition.  But it
 * is in one order with what others read: of two that take the last place at the
 * same time at least one must see the other.
 */
void
ceph_lb_connect(ceph_lb_state_t *s, int slot)
{
    atomic_store(&s->connections[slot], GET(s->connections[slot]) + 1);
}

void
ceph_lb_disconnect(ceph_lb_state_t *s, int slot)
{
    assert(GET(s->connections[slot]) > 0);

    atomic_store_explicit(
        &s->connections[slot], GET(s->connections[slot]) - 1,
        memory_order_release);
}

/* Two samples at once: one of them is lost, which an average can bear. */
void
ceph_lb_measure(ceph_lb_state_t *s, uint32_t sample_us, uint64_t now)
{
    int64_t old = GET(s->latency_us), sample = sample_us > 0 ? sample_us : 1;

    if (old == 0) {
        old = sample;
    }

    old += (sample - old) / (1 << LATENCY_SHIFT);

    SET(s->latency_us, (uint32_t) (old > 0 ? old : 1));
    SET(s->measured, now);
}

void
ceph_lb_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void
ceph_lb_raise(_Atomic uint64_t *maximum, uint64_t value)
{
    uint64_t old = GET(*maximum);

    while (
        value > old
        && !atomic_compare_exchange_weak_explicit(
            maximum, &old, value, memory_order_relaxed, memory_order_relaxed))
    {
        /* void */
    }
}

/* Whole lines: what two backends count is not in one. */
static size_t
stride(uint32_t slots)
{
    size_t size = sizeof(ceph_lb_state_t) + slots * sizeof(uint32_t);

    return (size + LINE - 1) / LINE * LINE;
}

static uint32_t *
buckets_of(ceph_lb_states_t *states)
{
    return (uint32_t *) (states + 1);
}

static ceph_lb_state_t *
entry(const ceph_lb_states_t *states, uint32_t i)
{
    uintptr_t first =
        (uintptr_t) (states + 1) + states->capacity * sizeof(uint32_t);

    first = (first + LINE - 1) / LINE * LINE;

    return (ceph_lb_state_t *) (first + i * stride(states->slots));
}

static ceph_lb_state_t *
find_or_take(ceph_lb_states_t *states, const ceph_lb_backend_t *b, uint64_t now)
{
    uint32_t         i;
    ceph_lb_state_t *s;

    if (states->capacity == 0) {
        return NULL;
    }

    i = buckets_of(states)[ceph_lb_address_hash(b) % states->capacity];

    for (; i != 0; i = s->next) {
        s = entry(states, i - 1);

        if (has_address(s, b)) {
            return s;
        }
    }

    s = take_entry(states, now);
    if (s != NULL) {
        put_in(states, s, b);
    }

    return s;
}

static int
has_address(const ceph_lb_state_t *s, const ceph_lb_backend_t *b)
{
    return s->socklen == b->socklen
        && memcmp(&s->address, &b->address, b->socklen) == 0;
}

static ceph_lb_state_t *
take_entry(ceph_lb_states_t *states, uint64_t now)
{
    uint32_t         i;
    ceph_lb_state_t *s;

    if (states->used < states->capacity) {
        return entry(states, states->used++);
    }

    for (i = 0; i < states->capacity; i++) {
        s = entry(states, i);

        if (GET(s->listed) + CEPH_LB_FORGET_MS < now
            && ceph_lb_connections(states, s) == 0)
        {
            take_out(states, s);
            clear(s);
            return s;
        }
    }

    return NULL;
}

static void
take_out(ceph_lb_states_t *states, ceph_lb_state_t *s)
{
    uint32_t         *link;
    ceph_lb_backend_t b;

    memcpy(&b.address, &s->address, s->socklen);
    b.socklen = s->socklen;

    link = &buckets_of(states)[ceph_lb_address_hash(&b) % states->capacity];

    while (entry(states, *link - 1) != s) {
        link = &entry(states, *link - 1)->next;
    }

    *link = s->next;
}

static void
put_in(ceph_lb_states_t *states, ceph_lb_state_t *s, const ceph_lb_backend_t *b)
{
    uint32_t *bucket;

    bucket = &buckets_of(states)[ceph_lb_address_hash(b) % states->capacity];

    memcpy(&s->address, &b->address, b->socklen);
    s->socklen = b->socklen;
    s->next = *bucket;

    *bucket = (uint32_t) (((uintptr_t) s - (uintptr_t) entry(states, 0))
                          / stride(states->slots))
            + 1;
}

/* The generation goes first: an old list may still lead here. */
static void
clear(ceph_lb_state_t *s)
{
    atomic_fetch_add(&s->generation, 1);

    SET(s->listed, 0);
    SET(s->usable, 0);
    SET(s->requests, 0);
    SET(s->failures, 0);
    SET(s->failed, 0);
    SET(s->counting, 0);
    SET(s->fails, 0);
    SET(s->checked, 0);
    SET(s->resting, 0);
    SET(s->risen, 0);
    SET(s->latency_us, 0);
    SET(s->measured, 0);
}
