#include "ceph_lb_balance.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct ceph_lb_state_s {
    ceph_lb_state_t  *next;     /* in its bucket */
    ceph_lb_backend_t key;      /* only the address counts */
    size_t            lists;    /* that are bound to it */
    int64_t           current;  /* place in the rotation */
    uint32_t          requests; /* under way */
    int               failed;
    long              checked; /* when it failed, or was last tried since */
};

/* Backends of a lower class are used first. */
enum {
    CLASS_PRIMARY,
    CLASS_BACKUP,
    CLASS_FAILED_PRIMARY,
    CLASS_FAILED_BACKUP,
    CLASS_NONE,
};

static ceph_lb_state_t *
find_or_create(ceph_lb_balance_t *balance, const ceph_lb_backend_t *b);
static void release(ceph_lb_balance_t *balance, ceph_lb_state_t *state);
static int  class_of(
     const ceph_lb_list_t *list, size_t i, const uintptr_t *tried, long now);
static uintptr_t bit_of(size_t i);

void
ceph_lb_balance_init(ceph_lb_balance_t *balance)
{
    memset(balance, 0, sizeof(*balance));
}

int
ceph_lb_balance_bind(ceph_lb_balance_t *balance, ceph_lb_list_t *list)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        list->backends[i].state = find_or_create(balance, &list->backends[i]);

        if (list->backends[i].state == NULL) {
            ceph_lb_balance_unbind(balance, list);
            return -1;
        }
    }

    return 0;
}

void
ceph_lb_balance_unbind(ceph_lb_balance_t *balance, ceph_lb_list_t *list)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        if (list->backends[i].state != NULL) {
            release(balance, list->backends[i].state);
            list->backends[i].state = NULL;
        }
    }
}

size_t
ceph_lb_tried_words(const ceph_lb_list_t *list)
{
    return (list->count + CEPH_LB_WORD_BITS - 1) / CEPH_LB_WORD_BITS;
}

long
ceph_lb_choose(const ceph_lb_list_t *list, uintptr_t *tried, long now)
{
    int              c, best_class = CLASS_NONE;
    size_t           i, best = 0;
    int64_t          total = 0;
    ceph_lb_state_t *state;

    for (i = 0; i < list->count; i++) {
        c = class_of(list, i, tried, now);

        if (c < best_class) {
            best_class = c;
            best = i;
        }
    }

    if (best_class == CLASS_NONE) {
        return -1;
    }

    /* The rotation turns only among those of the class that is used. */

    for (i = best; i < list->count; i++) {
        if (class_of(list, i, tried, now) != best_class) {
            continue;
        }

        state = list->backends[i].state;
        state->current += list->backends[i].weight;
        total += list->backends[i].weight;

        if (state->current > list->backends[best].state->current) {
            best = i;
        }
    }

    state = list->backends[best].state;
    state->current -= total;
    state->requests++;

    /*
     * After the time-out one request tries the backend; until it is known how
     * that went, the others still avoid it.
     */

    if (state->failed) {
        state->checked = now;
    }

    tried[best / CEPH_LB_WORD_BITS] |= bit_of(best);

    return (long) best;
}

void
ceph_lb_done(const ceph_lb_list_t *list, size_t i, int failed, long now)
{
    ceph_lb_state_t *state = list->backends[i].state;

    assert(state->requests > 0);

    state->requests--;
    state->failed = failed;

    if (failed) {
        state->checked = now;
    }
}

void
ceph_lb_undo(const ceph_lb_list_t *list, uintptr_t *tried, size_t i)
{
    size_t j;

    assert(list->backends[i].state->requests > 0);

    list->backends[i].state->requests--;

    for (j = 0; j < list->count; j++) {
        if (!(tried[j / CEPH_LB_WORD_BITS] & bit_of(j))) {
            return;
        }
    }

    tried[i / CEPH_LB_WORD_BITS] &= ~bit_of(i);
}

static ceph_lb_state_t *
find_or_create(ceph_lb_balance_t *balance, const ceph_lb_backend_t *b)
{
    ceph_lb_state_t *state, **bucket;

    bucket = &balance->buckets[ceph_lb_address_hash(b) % CEPH_LB_BUCKETS];

    for (state = *bucket; state != NULL; state = state->next) {
        if (ceph_lb_address_equal(&state->key, b)) {
            state->lists++;
            return state;
        }
    }

    state = calloc(1, sizeof(*state));
    if (state == NULL) {
        return NULL;
    }

    state->key = *b;
    state->lists = 1;
    state->next = *bucket;
    *bucket = state;

    return state;
}

static void
release(ceph_lb_balance_t *balance, ceph_lb_state_t *state)
{
    ceph_lb_state_t **p;

    if (--state->lists > 0) {
        return;
    }

    p = &balance->buckets[ceph_lb_address_hash(&state->key) % CEPH_LB_BUCKETS];

    while (*p != state) {
        p = &(*p)->next;
    }

    *p = state->next;
    free(state);
}

static int
class_of(const ceph_lb_list_t *list, size_t i, const uintptr_t *tried, long now)
{
    int                      failed;
    const ceph_lb_state_t   *state = list->backends[i].state;
    const ceph_lb_backend_t *b = &list->backends[i];

    if (tried[i / CEPH_LB_WORD_BITS] & bit_of(i)) {
        return CLASS_NONE;
    }

    if (b->max_conns > 0 && state->requests >= b->max_conns) {
        return CLASS_NONE;
    }

    failed = state->failed && now - state->checked <= CEPH_LB_FAIL_TIMEOUT;

    if (b->backup) {
        return failed ? CLASS_FAILED_BACKUP : CLASS_BACKUP;
    }

    return failed ? CLASS_FAILED_PRIMARY : CLASS_PRIMARY;
}

static uintptr_t
bit_of(size_t i)
{
    return (uintptr_t) 1 << i % CEPH_LB_WORD_BITS;
}
