#ifndef CEPH_LB_MEMORY_BUDGET_H
#define CEPH_LB_MEMORY_BUDGET_H

/*
 * How much memory the data on its way may take on one event loop: its share of --memory. Used on that loop
 * only, so there is neither a lock nor anybody to wake on another thread.
 */

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct memory_budget {
    size_t total;
    size_t used;
};

/* All or nothing; but what is alone may be larger than the budget, or it would wait forever. */
static inline bool memory_budget_take(struct memory_budget *budget, size_t bytes)
{
    if (budget->used != 0 && (budget->used > budget->total || bytes > budget->total - budget->used))
        return false;
    budget->used += bytes;
    return true;
}

/* As much as there is, at most `wanted` and at least `least`, even if that is above the budget: the window of
 * a stream shrinks in this way and never fails. */
static inline size_t memory_budget_take_some(struct memory_budget *budget, size_t wanted, size_t least)
{
    size_t left = budget->used < budget->total ? budget->total - budget->used : 0;
    size_t taken = left < wanted ? left : wanted;

    if (taken < least)
        taken = least < wanted ? least : wanted;
    budget->used += taken;
    return taken;
}

static inline void memory_budget_return(struct memory_budget *budget, size_t bytes)
{
    assert(budget->used >= bytes);
    budget->used -= bytes;
}

#endif
