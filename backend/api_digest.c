/* Digests that a client claims of what it sends: taken from its fields, and compared before anything is stored. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>

#include "xalloc.h"

/* Takes less than handing it to another thread would. */
#define AT_ONCE_SIZE_MAX (32 * 1024)
#define PIECE_SIZE       (1024 * 1024)

bool api_take_digests(struct http_request *request, struct digests *digests)
{
    static const struct {
        const char *name, *shown;
    } fields[] = {{"repr-digest", "Repr-Digest"}, {"content-digest", "Content-Digest"}};
    struct slice field;
    const char *problem = NULL;
    size_t i;

    digests->known = 0;
    for (i = 0; i < sizeof(fields) / sizeof(fields[0]) && problem == NULL; i++) {
        field = http_request_list_field(request, fields[i].name);
        if (field.base != NULL)
            problem = digests_take_field(field, fields[i].shown, digests);
    }
    field = http_request_field(request, "content-md5");
    if (problem == NULL && field.base != NULL)
        problem = digests_take_content_md5(field, digests);
    if (problem != NULL)
        problem_respond(request, PROBLEM_BAD_DIGEST, problem);
    return problem == NULL;
}

/* ---- on a worker ---- */

struct computed {
    struct answer answer; /* first */
    struct digests digests;
};

struct compute_job {
    struct job job; /* first */
    struct http_request *request;
    unsigned algorithms;
    char key[32];
};

static void compute(struct http_request *request, unsigned algorithms, struct digests *digests)
{
    struct digest_context *context = digest_begin(algorithms);
    struct slice body = http_request_body(request);

    while (body.len != 0) {
        struct slice piece = {body.base, body.len < PIECE_SIZE ? body.len : PIECE_SIZE};

        digest_update(context, piece.base, piece.len);
        http_request_body_used(request, piece);
        body.base += piece.len;
        body.len -= piece.len;
    }
    digest_finish(context, digests);
}

static void computed_free(struct answer *answer)
{
    free(answer);
}

static struct answer *run_compute(struct job *base)
{
    struct compute_job *job = (struct compute_job *)base;
    struct computed *computed = xcalloc(1, sizeof(*computed));

    atomic_init(&computed->answer.references, 1);
    computed->answer.free = computed_free;
    compute(job->request, job->algorithms, &computed->digests);
    return &computed->answer;
}

static void compute_job_free(struct job *job)
{
    free(job);
}

/* ---- on the loop ---- */

struct verification {
    struct ask ask; /* first */
    struct http_request *request;
    struct digests claimed;
    void (*done)(void *context, bool right);
    void *context;
};

static bool judge(struct http_request *request, const struct digests *claimed, const struct digests *computed)
{
    struct buffer detail = {NULL, 0, 0};
    int wrong = digests_compare(claimed, computed);

    if (wrong < 0)
        return true;
    buffer_printf(&detail, "The %s of what arrived is ", digest_name((enum digest_algorithm)wrong));
    digest_append_base64(computed, (enum digest_algorithm)wrong, &detail);
    buffer_append_text(&detail, ", another than the request says. Nothing was stored.");
    problem_respond(request, PROBLEM_DIGEST_MISMATCH, detail.base);
    buffer_free(&detail);
    return false;
}

static void on_computed(struct ask *ask)
{
    struct verification *verification = (struct verification *)ask;
    struct computed *computed = (struct computed *)ask->answer;
    bool right = false;

    if (computed == NULL) {
        problem_respond(verification->request, PROBLEM_OVERLOADED, NULL);
    } else {
        right = judge(verification->request, &verification->claimed, &computed->digests);
        answer_release(&computed->answer);
    }
    verification->done(verification->context, right);
    free(verification);
}

void api_verify_body(struct api *api, struct http_request *request, const struct digests *claimed,
                     void (*done)(void *context, bool right), void *context)
{
    struct verification *verification;
    struct compute_job *job;
    struct digests computed;

    if (claimed->known == 0) {
        done(context, true);
        return;
    }
    if (http_request_body(request).len <= AT_ONCE_SIZE_MAX) {
        compute(request, claimed->known, &computed);
        done(context, judge(request, claimed, &computed));
        return;
    }
    verification = xcalloc(1, sizeof(*verification));
    verification->ask.home = http_request_loop(request);
    verification->ask.done = on_computed;
    verification->request = request;
    verification->claimed = *claimed;
    verification->done = done;
    verification->context = context;

    job = xcalloc(1, sizeof(*job));
    job->job.run = run_compute;
    job->job.free = compute_job_free;
    job->request = request;
    job->algorithms = claimed->known;
    /* Nobody else asks for this one. */
    snprintf(job->key, sizeof(job->key), "digest %p", (void *)verification);
    job->job.key = job->key;
    workers_ask(api->workers, &job->job, &verification->ask);
}
