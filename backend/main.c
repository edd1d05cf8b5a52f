/* The backend's life: options, start, signals, drain, end. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "announce.h"
#include "api.h"
#include "cluster.h"
#include "collector.h"
#include "http.h"
#include "indexer.h"
#include "log.h"
#include "options.h"
#include "store.h"
#include "workers.h"
#include "xalloc.h"

/* A form adds a little to the file that it carries: boundaries and the part's header. */
#define FORM_OVERHEAD_MAX (64 * 1024)
#define POLL_MS           20
/* After the load balancers can see that we drain, what they had sent off before may still be on its way. */
#define SETTLE_MS        500
#define ANNOUNCE_SECONDS 3

struct backend {
    struct options options;
    struct http_server *server;
    struct announcer *announcer; /* NULL without --announce */
    struct collector *collector;
    struct indexer *indexer;
    struct api api;
};

static bool check_spool_dir(const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode) || access(path, W_OK | X_OK) != 0) {
        log_error("--spool-dir %s: not a directory where files can be made", path);
        return false;
    }
    return true;
}

/* Every connection is a descriptor, and so is every file of a body under way. */
static void raise_descriptor_limit(uint64_t connections)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)(2 * connections + 256);

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
        log_warn("--connections needs %llu open files, the system allows %llu", (unsigned long long)wanted,
                 (unsigned long long)limit.rlim_cur);
}

static bool write_pid_file(const char *path)
{
    FILE *file = fopen(path, "we");

    if (file == NULL || fprintf(file, "%ld\n", (long)getpid()) < 0 || fclose(file) != 0) {
        log_error("--pid-file %s: %s", path, strerror(errno));
        return false;
    }
    return true;
}

static bool start_server(struct backend *backend)
{
    struct options *options = &backend->options;
    struct http_options http = {
        .loops = (unsigned)options->threads,
        .body_size_max = options->max_file_size + FORM_OVERHEAD_MAX,
        .spool_dir = options->spool_dir,
        .server_name = "ceph-lb/" CEPH_LB_VERSION,
        .backend_name = options->announce_address,
        .connections_max = (unsigned)options->connections,
        .request_timeout_seconds = (unsigned)options->request_timeout,
        .send_timeout_seconds = (unsigned)options->send_timeout,
        .access_log = options->access_log,
    };

    (void)address_parse(options->listen, &http.listen); /* options_parse has checked it */
    backend->server = http_server_new(&http, problem_http_error_body);
    return backend->server != NULL;
}

static bool start_announcer(struct backend *backend)
{
    struct announce_options announce = {
        .url = backend->options.announce,
        .password_file = backend->options.announce_password_file,
        .ssl_ca = backend->options.announce_ssl_ca,
    };

    if (announce.url == NULL)
        return true;
    (void)address_parse(backend->options.announce_address, &announce.address);
    backend->announcer = announce_start(&announce);
    return backend->announcer != NULL;
}

static void start_api(struct backend *backend)
{
    struct options *options = &backend->options;
    struct cluster_options cluster = {
        .conf_file = options->ceph_conf,
        .client_name = options->ceph_name,
        .pool = options->pool,
        .data_pool = options->data_pool != NULL ? options->data_pool : options->pool,
        .op_timeout_seconds = (unsigned)options->op_timeout,
        .loops = (unsigned)options->threads,
    };
    struct store_options store = {
        .loops = (unsigned)options->threads,
        .op_timeout_seconds = (unsigned)options->op_timeout,
        .upload_grace_seconds = (unsigned)options->upload_grace,
        .memory = (size_t)options->memory,
    };
    struct collector_options collector = {
        .interval_seconds = (unsigned)options->collect_interval,
        .upload_grace_seconds = (unsigned)options->upload_grace,
        .download_grace_seconds = (unsigned)options->download_grace,
    };
    struct indexer_options indexer = {
        .scrub_interval_seconds = (unsigned)options->scrub_interval,
        .scrub_rate = (unsigned)options->scrub_rate,
        .tombstone_seconds = (unsigned)options->upload_grace,
    };
    struct api *api = &backend->api;

    api->server = backend->server;
    api->cluster = cluster_start(&cluster);
    api->store = store_new(api->cluster, &store, http_server_loops(backend->server));
    api->workers = workers_start((unsigned)options->workers);
    backend->collector = collector_start(api->cluster, api->store->doubts, &collector, &api->collector);
    backend->indexer = indexer_start(api->cluster, api->store->doubts, &indexer, &api->indexer);
    api->backend_name = options->announce_address;
    api->file_size_max = options->max_file_size;
    api->started_ms = clock_monotonic_ms();
    atomic_init(&api->draining, false);
    http_server_start(backend->server, api_handle, api_arrival, api);
    log_info("ceph-lb-backend %s listening on %s, %u event loops", CEPH_LB_VERSION, options->listen,
             (unsigned)options->threads);
}

/* The signal that came within `ms`, or 0. */
static int wait_for_signal(const sigset_t *signals, int ms)
{
    struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};
    int number = sigtimedwait(signals, NULL, &pause);

    return number > 0 ? number : 0;
}

/* Waits until no request has been under way for `quiet_ms`. False when the time is over; ends the process at
 * a second signal. */
static bool wait_until_quiet(struct backend *backend, const sigset_t *signals, int64_t quiet_ms,
                             int64_t deadline_ms)
{
    int64_t quiet_since_ms = clock_monotonic_ms();

    for (;;) {
        unsigned requests = http_server_count_requests(backend->server);
        int64_t now_ms = clock_monotonic_ms();

        if (requests != 0)
            quiet_since_ms = now_ms;
        else if (now_ms - quiet_since_ms >= quiet_ms)
            return true;
        if (now_ms >= deadline_ms) {
            log_warn("%u requests are still under way after --drain-timeout; they are cut off", requests);
            return false;
        }
        if (wait_for_signal(signals, POLL_MS) != 0) {
            log_warn("second signal: ending now, with %u requests under way", requests);
            return false;
        }
    }
}

/* True when every request has been answered. */
static bool drain(struct backend *backend, const sigset_t *signals)
{
    int64_t deadline_ms = clock_monotonic_ms() + (int64_t)backend->options.drain_timeout * 1000;
    bool quiet;

    atomic_store(&backend->api.draining, true);
    http_server_drain(backend->server);
    if (backend->announcer != NULL) {
        announce_drain(backend->announcer);
        if (!announce_wait(backend->announcer, ANNOUNCE_SECONDS))
            log_warn("the registry could not be told that this backend drains");
        if (!wait_until_quiet(backend, signals, SETTLE_MS, deadline_ms))
            return false;
    }
    http_server_stop_listening(backend->server);
    quiet = wait_until_quiet(backend, signals, 0, deadline_ms);
    return quiet;
}

/* Until a signal comes. False when the pool turned out not to be for us. */
static bool wait_for_end(struct backend *backend, const sigset_t *signals)
{
    enum cluster_state state = CLUSTER_CONNECTING;

    do {
        /* We are of no use to a load balancer before Ceph has been reached. */
        if (state == CLUSTER_CONNECTING && cluster_is_ready(backend->api.cluster) &&
            backend->announcer != NULL)
            announce_up(backend->announcer);
        state = cluster_state(backend->api.cluster);
        if (state == CLUSTER_REFUSED)
            return false;
    } while (wait_for_signal(signals, state == CLUSTER_CONNECTING ? POLL_MS : 3600 * 1000) == 0);
    return true;
}

/* Without librados' own end; see cluster_stop. */
static _Noreturn void end_process(int status)
{
#ifdef __SANITIZE_ADDRESS__
    __lsan_do_leak_check();
#endif
    _exit(status);
}

static int run(struct backend *backend)
{
    sigset_t signals;
    bool drained, refused;

    /* Blocked before any thread starts, so that only sigtimedwait gets them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk */

    raise_descriptor_limit(backend->options.connections);
    if (!check_spool_dir(backend->options.spool_dir) || !start_server(backend) || !start_announcer(backend))
        return 1;
    if (backend->options.pid_file != NULL && !write_pid_file(backend->options.pid_file))
        return 1;
    start_api(backend);

    refused = !wait_for_end(backend, &signals);
    log_info("draining: waiting for requests under way");
    drained = drain(backend, &signals);
    if (backend->announcer != NULL)
        announce_stop(backend->announcer);
    if (backend->options.pid_file != NULL)
        unlink(backend->options.pid_file);
    if (!drained)
        /* Operations are under way whose memory nobody may touch; the kernel takes all of it at once. */
        _exit(1);

    collector_stop(backend->collector);
    indexer_stop(backend->indexer);
    store_stop(backend->api.store);
    workers_stop(backend->api.workers);
    http_server_stop(backend->server);
    if (!cluster_is_ready(backend->api.cluster))
        cluster_stop(backend->api.cluster);
    log_info("ended");
    end_process(refused ? 1 : 0);
}

/*
 * By default each of glibc's arenas keeps what its threads have given back, and there are eight for each processor: with
 * pieces of megabytes that becomes more than --memory.
 */
static void keep_memory_together(void)
{
    mallopt(M_ARENA_MAX, 2);
}

int main(int argc, char **argv)
{
    static struct backend backend;

    switch (options_parse(argc, argv, &backend.options)) {
    case OPTIONS_DONE:
        return 0;
    case OPTIONS_WRONG:
        return 2;
    case OPTIONS_RUN:
        break;
    }
    log_set_level((enum log_level)backend.options.log_level);
    keep_memory_together();
    if (backend.options.threads == 0)
        backend.options.threads = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
    if (backend.options.announce_address == NULL)
        backend.options.announce_address = backend.options.listen;
    return run(&backend);
}
