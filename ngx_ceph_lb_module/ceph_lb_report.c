#include "ceph_lb_report.h"

#include <assert.h>
#include <string.h>

static ceph_lb_report_condition_e condition_of_row(const ceph_lb_backend_t *b);
static void                       report_state(
                          const ceph_lb_policy_t *policy,
                          const ceph_lb_states_t *states,
                          const ceph_lb_state_t  *s,
                          uint64_t                now,
                          ceph_lb_report_t       *report);
static void report_condition(
    const ceph_lb_policy_t  *policy,
    const ceph_lb_states_t  *states,
    const ceph_lb_backend_t *b,
    uint64_t                 now,
    ceph_lb_report_t        *report);
static uint64_t since(uint64_t then, uint64_t now);

static const char *const condition_words[] = {
    [CEPH_LB_IS_READY] = "ready",     [CEPH_LB_IS_STARTING] = "starting",
    [CEPH_LB_IS_FULL] = "full",       [CEPH_LB_IS_FAILED] = "failed",
    [CEPH_LB_IS_RESTING] = "resting", [CEPH_LB_IS_DRAINED] = "drain",
    [CEPH_LB_IS_DOWN] = "down",       [CEPH_LB_IS_UNKNOWN] = "unknown",
};

static const char *const row_state_words[] = {
    [CEPH_LB_UP] = "up",
    [CEPH_LB_DRAIN] = "drain",
    [CEPH_LB_DOWN] = "down",
};

static const char *const method_words[] = {
    [CEPH_LB_ROUND_ROBIN] = "round_robin",
    [CEPH_LB_LEAST_CONN] = "least_conn",
    [CEPH_LB_RANDOM] = "random",
    [CEPH_LB_EWMA] = "ewma",
    [CEPH_LB_HASH] = "hash",
};

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

void
ceph_lb_report(
    const ceph_lb_policy_t *policy,
    const ceph_lb_list_t   *list,
    size_t                  i,
    uint64_t                now,
    ceph_lb_report_t       *report)
{
    const ceph_lb_state_t   *s;
    const ceph_lb_backend_t *b = &list->backends[i];

    assert(i < list->total && list->states != NULL);

    memset(report, 0, sizeof(*report));

    report->weight = b->weight;
    report->max_conns = b->max_conns;
    report->backup = b->backup != 0;
    report->warmth_percent = 100;
    report->failed_ms = CEPH_LB_NONE;
    report->latency_us = CEPH_LB_NONE;
    report->wait_ms = CEPH_LB_NONE;
    report->condition = condition_of_row(b);

    s = ceph_lb_state_of(b);

    if (s == NULL) {
        report->condition = CEPH_LB_IS_UNKNOWN;
        return;
    }

    report_state(policy, list->states, s, now, report);

    if (report->condition == CEPH_LB_IS_READY) {
        report_condition(policy, list->states, b, now, report);
    }
}

static ceph_lb_report_condition_e
condition_of_row(const ceph_lb_backend_t *b)
{
    if (b->row_state == CEPH_LB_DOWN) {
        return CEPH_LB_IS_DOWN;
    }

    if (b->row_state == CEPH_LB_DRAIN || b->weight == 0) {
        return CEPH_LB_IS_DRAINED;
    }

    return CEPH_LB_IS_READY;
}

static void
report_state(
    const ceph_lb_policy_t *policy,
    const ceph_lb_states_t *states,
    const ceph_lb_state_t  *s,
    uint64_t                now,
    ceph_lb_report_t       *report)
{
    uint64_t failed = GET(s->failed);
    uint32_t latency_us = GET(s->latency_us);

    report->connections = ceph_lb_connections(states, s);
    report->requests = GET(s->requests);
    report->failures = GET(s->failures);
    report->warmth_percent = (uint64_t) (100 * ceph_lb_warmth(policy, s, now));

    if (failed != 0) {
        report->failed_ms = since(failed, now);
    }

    if (latency_us != 0) {
        report->latency_us = latency_us;
    }
}

/* Of one that gets requests by its row. */
static void
report_condition(
    const ceph_lb_policy_t  *policy,
    const ceph_lb_states_t  *states,
    const ceph_lb_backend_t *b,
    uint64_t                 now,
    ceph_lb_report_t        *report)
{
    uint64_t resting = GET(b->state->resting);

    switch (ceph_lb_condition(policy, states, b, now)) {

    case CEPH_LB_READY:
        if (report->warmth_percent < 100) {
            report->condition = CEPH_LB_IS_STARTING;
        }
        break;

    case CEPH_LB_TRIAL:
        report->condition = CEPH_LB_IS_FAILED;
        report->wait_ms = 0;
        break;

    case CEPH_LB_AVOIDED:
        if (resting > now) {
            report->condition = CEPH_LB_IS_RESTING;
            report->wait_ms = since(now, resting);
            break;
        }

        report->condition = CEPH_LB_IS_FAILED;
        report->wait_ms =
            since(now, GET(b->state->checked) + policy->fail_timeout_ms);
        break;

    case CEPH_LB_FULL:
        report->condition = CEPH_LB_IS_FULL;
        break;
    }
}

/* Another worker's clock may be some milliseconds ahead. */
static uint64_t
since(uint64_t then, uint64_t now)
{
    return now > then ? now - then : 0;
}

uint64_t
ceph_lb_mean(uint64_t sum, uint64_t count)
{
    return count > 0 ? (sum + count / 2) / count : CEPH_LB_NONE;
}

const char *
ceph_lb_condition_word(ceph_lb_report_condition_e condition)
{
    return condition_words[condition];
}

const char *
ceph_lb_row_state_word(ceph_lb_row_state_e state)
{
    return row_state_words[state];
}

const char *
ceph_lb_method_word(ceph_lb_method_e method)
{
    return method_words[method];
}
