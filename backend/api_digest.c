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

/* ---- computing on a worker ---- */

struct compute_job {
    struct job job; /* first */
    struct api_computation *computation;
    char key[32];
};

static void ran_free(struct answer *answer)
{
    free(answer);
}

/* The answer says that it ran; what came of it stands in the computation. */
static struct answer *run_compute(struct job *base)
{
    struct api_computation *computation = ((struct compute_job *)base)->computation;
    struct digest_context *context = digest_begin(computation->algorithms);
    struct answer *ran = xcalloc(1, sizeof(*ran));

    computation->error = computation->feed(computation, context);
    digest_finish(context, &computation->digests);
    atomic_init(&ran->references, 1);
    ran->free = ran_free;
    return ran;
}

static void compute_job_free(struct job *job)
{
    free(job);
}

static void on_computed(struct ask *ask)
{
    struct api_computation *computation = (struct api_computation *)ask;

    computation->ran = ask->answer != NULL;
    if (ask->answer != NULL)
        answer_release(ask->answer);
    computation->done(computation);
}

void api_compute_digests(struct api *api, struct executor *home, struct api_computation *computation)
{
    struct compute_job *job = xcalloc(1, sizeof(*job));

    computation->ask.home = home;
    computation->ask.done = on_computed;
    job->job.run = run_compute;
    job->job.free = compute_job_free;
    job->computation = computation;
    /* Nobody else asks for this one. */
    snprintf(job->key, sizeof(job->key), "digest %p", (void *)computation);
    job->job.key = job->key;
    workers_ask(api->workers, &job->job, &computation->ask);
}

/* ---- the body of a request ---- */

struct verification {
    struct api_computation computation; /* first */
    struct http_request *request;
    struct digests claimed;
    void (*done)(void *context, bool right);
    void *context;
};

static void feed_body(struct http_request *request, struct digest_context *context)
{
    struct slice body = http_request_body(request);

    while (body.len != 0) {
        struct slice piece = {body.base, body.len < PIECE_SIZE ? body.len : PIECE_SIZE};

        digest_update(context, piece.base, piece.len);
        http_request_body_used(request, piece);
        body.base += piece.len;
        body.len -= piece.len;
    }
}

static int feed(struct api_computation *computation, struct digest_context *context)
{
    feed_body(((struct verification *)computation)->request, context);
    return 0;
}

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

static void on_body_computed(struct api_computation *computation)
{
    struct verification *verification = (struct verification *)computation;
    bool right = false;

    if (computation->ran)
        right = judge(verification->request, &verification->claimed, &computation->digests);
    else
        problem_respond(verification->request, PROBLEM_OVERLOADED, NULL);
    verification->done(verification->context, right);
    free(verification);
}

void api_verify_body(struct api *api, struct http_request *request, const struct digests *claimed,
                     void (*done)(void *context, bool right), void *context)
{
    struct verification *verification;

    if (claimed->known == 0) {
        done(context, true);
        return;
    }
    if (http_request_body(request).len <= AT_ONCE_SIZE_MAX) {
        struct digest_context *digesting = digest_begin(claimed->known);
        struct digests computed;

        feed_body(request, digesting);
        digest_finish(digesting, &computed);
        done(context, judge(request, claimed, &computed));
        return;
    }
    verification = xcalloc(1, sizeof(*verification));
    verification->computation.algorithms = claimed->known;
    verification->computation.feed = feed;
    verification->computation.done = on_body_computed;
    verification->request = request;
    verification->claimed = *claimed;
    verification->done = done;
    verification->context = context;
    api_compute_digests(api, http_request_loop(request), &verification->computation);
}
