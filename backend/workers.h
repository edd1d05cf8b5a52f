#ifndef CEPH_LB_WORKERS_H
#define CEPH_LB_WORKERS_H

/*
 * A few threads for calls that exist only as blocking ones: monitor commands, statistics, the walk over a
 * pool.
 *
 * Asks for the same thing (the same key) share one job, by the rule that makes an answer never older than its
 * ask: who comes while the job is still queued joins it; who comes while it runs gets the next one, of which
 * there is one at most. So a key costs one thread at a time however many ask.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "executor.h"

#define WORKERS_JOBS_MAX 256 /* queued or running, each with its own key */

/* What a job gives to everyone who asked: made by the job, shared, freed when the last one lets go. */
struct answer {
    atomic_uint references;
    void (*free)(struct answer *answer);
};

void answer_release(struct answer *answer);

/* What is to be done. Copied by nobody: `free` is called on the thread that is done with it. */
struct job {
    const char *key; /* belongs to the job */
    /* On a worker. Returns the answer with one reference, which is the workers'. */
    struct answer *(*run)(struct job *job);
    void (*free)(struct job *job);
};

/* Somebody who waits for an answer; the asker's memory until `done`. */
struct ask {
    struct executor *home;
    /* On the asker's loop, exactly once. The asker owns one reference to ask->answer; NULL means that the
     * workers are overloaded or stopped and the job did not run. */
    void (*done)(struct ask *ask);
    struct answer *answer;

    /* The workers' own. */
    struct task homecoming;
    struct ask *next;
};

struct workers;

struct workers *workers_start(unsigned threads);

/* Ends the threads after what they are running; what is queued is answered with NULL. */
void workers_stop(struct workers *workers);

/* Takes over the job. Any thread. */
void workers_ask(struct workers *workers, struct job *job, struct ask *ask);

#endif
