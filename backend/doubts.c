#include "doubts.h"

#include <pthread.h>
#include <stdlib.h>

#include "xalloc.h"

#define RETRY_MS 1000

struct doubt {
    struct doubt *next;
    int64_t due_ms; /* 0: now */
    bool last_time; /* it has been settled once */
    size_t len;
    char name[];
};

struct doubts {
    pthread_mutex_t mutex;
    struct doubt *first; /* a short list, mostly empty */
    size_t count;
};

struct doubts *doubts_new(void)
{
    struct doubts *doubts = xcalloc(1, sizeof(*doubts));

    pthread_mutex_init(&doubts->mutex, NULL);
    return doubts;
}

/* The place of a name in the list, or the end of the list. */
static struct doubt **find(struct doubts *doubts, struct slice name)
{
    struct doubt **at = &doubts->first;

    while (*at != NULL && !slice_equals((struct slice){(*at)->name, (*at)->len}, name))
        at = &(*at)->next;
    return at;
}

void doubts_add(struct doubts *doubts, struct slice name)
{
    struct doubt **at;

    pthread_mutex_lock(&doubts->mutex);
    at = find(doubts, name);
    if (*at != NULL) {
        (*at)->due_ms = 0;
        (*at)->last_time = false;
    } else if (doubts->count < DOUBTS_MOST) {
        *at = xcalloc(1, sizeof(**at) + name.len);
        (*at)->len = name.len;
        memcpy((*at)->name, name.base, name.len);
        doubts->count++;
    }
    pthread_mutex_unlock(&doubts->mutex);
}

bool doubts_take(struct doubts *doubts, int64_t now_ms, struct buffer *name)
{
    struct doubt *doubt;

    pthread_mutex_lock(&doubts->mutex);
    for (doubt = doubts->first; doubt != NULL && doubt->due_ms > now_ms; doubt = doubt->next)
        ;
    if (doubt != NULL) {
        name->len = 0;
        buffer_append(name, doubt->name, doubt->len);
        doubt->due_ms = INT64_MAX; /* until it is given back, or comes into doubt again */
    }
    pthread_mutex_unlock(&doubts->mutex);
    return doubt != NULL;
}

/* Acts on a name that was taken, unless it has come into doubt again meanwhile. */
static void give_back(struct doubts *doubts, struct slice name, int64_t due_ms, bool settled)
{
    struct doubt **at, *doubt;

    pthread_mutex_lock(&doubts->mutex);
    at = find(doubts, name);
    doubt = *at;
    if (doubt != NULL && doubt->due_ms == INT64_MAX) {
        if (settled && doubt->last_time) {
            *at = doubt->next;
            doubts->count--;
            free(doubt);
        } else {
            doubt->due_ms = due_ms;
            doubt->last_time = doubt->last_time || settled;
        }
    }
    pthread_mutex_unlock(&doubts->mutex);
}

void doubts_settle(struct doubts *doubts, struct slice name, int64_t now_ms)
{
    give_back(doubts, name, now_ms + INT64_C(1000) * DOUBTS_AGAIN_SECONDS, true);
}

void doubts_keep(struct doubts *doubts, struct slice name, int64_t now_ms)
{
    give_back(doubts, name, now_ms + RETRY_MS, false);
}

void doubts_free(struct doubts *doubts)
{
    while (doubts->first != NULL) {
        struct doubt *next = doubts->first->next;
        free(doubts->first);
        doubts->first = next;
    }
    pthread_mutex_destroy(&doubts->mutex);
    free(doubts);
}
