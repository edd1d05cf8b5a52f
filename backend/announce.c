#include "announce.h"

#include <errno.h>
#include <mysql.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ceph_lb_url.h"
#include "log.h"
#include "xalloc.h"

#define RENEW_MS       1000
#define RETRY_MS_LEAST 50
#define RETRY_MS_MOST  1000
#define IO_TIMEOUT     2 /* seconds, for each step of the client library */
#define REMOVE_SECONDS 3
#define PASSWORD_MAX   255

enum order { ORDER_WAIT, ORDER_UP, ORDER_DRAIN, ORDER_REMOVE };

struct announcer {
    ceph_lb_url_t url;
    struct address address;
    char password[PASSWORD_MAX + 1];
    const char *ssl_ca;
    pthread_t thread;

    pthread_mutex_t mutex; /* over the next three */
    pthread_cond_t changed;
    enum order ordered, done;
    bool given_up; /* do not try to reach the registry any longer */

    /* The thread's own. */
    MYSQL *connection;
    size_t host; /* of the URL: the one in use, or to be tried next */
    bool inserted, removed_by_operator, failing;
    unsigned retry_ms;
};

/* ---- options ---- */

static bool read_password(struct announcer *announcer, const char *path)
{
    FILE *file = fopen(path, "re");
    bool read;

    if (file == NULL) {
        log_error("--announce-password-file %s: %s", path, strerror(errno));
        return false;
    }
    read = fgets(announcer->password, sizeof(announcer->password), file) != NULL;
    fclose(file);
    announcer->password[strcspn(announcer->password, "\r\n")] = '\0';
    if (!read || announcer->password[0] == '\0')
        log_error("--announce-password-file %s: its first line is empty", path);
    return read && announcer->password[0] != '\0';
}

static bool take_options(struct announcer *announcer, const struct announce_options *options)
{
    const char *problem = ceph_lb_url_parse(&announcer->url, options->url, strlen(options->url));

    if (problem != NULL) {
        log_error("--announce \"%s\" %s", options->url, problem);
        return false;
    }
    announcer->address = options->address;
    announcer->ssl_ca = options->ssl_ca;
    return options->password_file == NULL || read_password(announcer, options->password_file);
}

/* ---- talking to the registry; on the thread ---- */

static void disconnect(struct announcer *announcer)
{
    if (announcer->connection != NULL)
        mysql_close(announcer->connection);
    announcer->connection = NULL;
}

/* Says it once, until it works again, by whichever host. */
static bool failed(struct announcer *announcer, const char *what)
{
    const ceph_lb_url_t *url = &announcer->url;

    if (!announcer->failing)
        log_warn("registry mysql://%s@%s%s/%s: cannot %s: %s; trying again", url->user,
                 url->hosts[announcer->host].name, url->path, url->database, what,
                 mysql_error(announcer->connection));
    announcer->failing = true;
    disconnect(announcer);
    if (url->nhosts > 1)
        announcer->host = (announcer->host + 1) % url->nhosts;
    return false;
}

static bool connect_registry(struct announcer *announcer)
{
    const unsigned timeout = IO_TIMEOUT;
    const my_bool yes = 1;
    const ceph_lb_url_t *url = &announcer->url;
    const ceph_lb_url_host_t *host = &url->hosts[announcer->host];
    bool socket = url->nhosts == 0;
    MYSQL *connection = mysql_init(NULL);

    if (connection == NULL)
        abort();
    announcer->connection = connection;
    mysql_options(connection, MYSQL_OPT_CONNECT_TIMEOUT, &timeout);
    mysql_options(connection, MYSQL_OPT_READ_TIMEOUT, &timeout);
    mysql_options(connection, MYSQL_OPT_WRITE_TIMEOUT, &timeout);
    if (announcer->ssl_ca != NULL) {
        mysql_options(connection, MYSQL_OPT_SSL_CA, announcer->ssl_ca);
        mysql_options(connection, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
    }
    /* CLIENT_FOUND_ROWS: a row counts as updated even if the clock did not move between two renewals. */
    if (mysql_real_connect(connection, socket ? NULL : host->host, url->user, announcer->password,
                           url->database, host->port, socket ? url->path : NULL, CLIENT_FOUND_ROWS) == NULL)
        return failed(announcer, "connect");
    return true;
}

static bool run_statement(struct announcer *announcer, const char *what, const char *statement)
{
    if (mysql_query(announcer->connection, statement) != 0)
        return failed(announcer, what);
    if (announcer->failing)
        log_info("the registry is back");
    announcer->failing = false;
    return true;
}

/* Address and port are digits, dots and colons only, so they need no escaping. */
static bool insert_row(struct announcer *announcer)
{
    char statement[512];

    snprintf(statement, sizeof(statement),
             "INSERT INTO addresses (containerAddress, address, port, state, seen)"
             " VALUES ('%s', '%s', %u, 'up', NOW(6))"
             " ON DUPLICATE KEY UPDATE state = 'up', seen = NOW(6)",
             announcer->address.host, announcer->address.host, announcer->address.port);
    if (!run_statement(announcer, "announce this backend", statement))
        return false;
    log_info("announced as %s port %u in the registry", announcer->address.host, announcer->address.port);
    announcer->inserted = true;
    return true;
}

static bool renew_row(struct announcer *announcer, const char *state)
{
    char statement[512];

    snprintf(statement, sizeof(statement),
             "UPDATE addresses SET %s%s%sseen = NOW(6) WHERE address = '%s' AND port = %u",
             state != NULL ? "state = '" : "", state != NULL ? state : "", state != NULL ? "', " : "",
             announcer->address.host, announcer->address.port);
    if (!run_statement(announcer, "renew the row of this backend", statement))
        return false;
    if (mysql_affected_rows(announcer->connection) == 0 && !announcer->removed_by_operator) {
        log_warn(
            "somebody removed the row of this backend from the registry; it gets no requests until it is "
            "started anew, or the row inserted");
        announcer->removed_by_operator = true;
    }
    return true;
}

static bool remove_row(struct announcer *announcer)
{
    char statement[512];

    snprintf(statement, sizeof(statement), "DELETE FROM addresses WHERE address = '%s' AND port = %u",
             announcer->address.host, announcer->address.port);
    if (!run_statement(announcer, "remove the row of this backend", statement))
        return false;
    log_info("left the registry");
    return true;
}

/* Makes the row as it shall be, or keeps it so. */
static bool obey(struct announcer *announcer, enum order order, enum order done)
{
    if (announcer->connection == NULL && !connect_registry(announcer))
        return false;
    switch (order) {
    case ORDER_WAIT:
        break;
    case ORDER_UP:
        return announcer->inserted ? renew_row(announcer, NULL) : insert_row(announcer);
    case ORDER_DRAIN:
        return !announcer->inserted || renew_row(announcer, done == ORDER_DRAIN ? NULL : "drain");
    case ORDER_REMOVE:
        return !announcer->inserted || remove_row(announcer);
    }
    return true;
}

/* ---- the thread ---- */

static void wait_until_changed(struct announcer *announcer, enum order known, unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (announcer->ordered == known && !announcer->given_up)
        if (pthread_cond_timedwait(&announcer->changed, &announcer->mutex, &until) == ETIMEDOUT)
            break;
}

static void *announce(void *argument)
{
    struct announcer *announcer = argument;

    pthread_mutex_lock(&announcer->mutex);
    while (!announcer->given_up && announcer->done != ORDER_REMOVE) {
        enum order order = announcer->ordered, done = announcer->done;
        unsigned pause_ms = RENEW_MS;
        bool obeyed = true;

        if (order != ORDER_WAIT) {
            pthread_mutex_unlock(&announcer->mutex);
            obeyed = obey(announcer, order, done);
            pthread_mutex_lock(&announcer->mutex);
        }
        if (obeyed) {
            announcer->retry_ms = RETRY_MS_LEAST;
            announcer->done = order;
            pthread_cond_broadcast(&announcer->changed);
            if (order == ORDER_REMOVE)
                break;
        } else {
            pause_ms = announcer->retry_ms;
            announcer->retry_ms = 2 * pause_ms < RETRY_MS_MOST ? 2 * pause_ms : RETRY_MS_MOST;
        }
        wait_until_changed(announcer, order, pause_ms);
    }
    pthread_mutex_unlock(&announcer->mutex);
    disconnect(announcer);
    mysql_thread_end();
    return NULL;
}

static void give_order(struct announcer *announcer, enum order order)
{
    pthread_mutex_lock(&announcer->mutex);
    announcer->ordered = order;
    pthread_cond_broadcast(&announcer->changed);
    pthread_mutex_unlock(&announcer->mutex);
}

struct announcer *announce_start(const struct announce_options *options)
{
    struct announcer *announcer = xcalloc(1, sizeof(*announcer));
    pthread_condattr_t attributes;

    if (!take_options(announcer, options)) {
        free(announcer);
        return NULL;
    }
    if (mysql_library_init(0, NULL, NULL) != 0)
        abort();
    announcer->retry_ms = RETRY_MS_LEAST;
    pthread_mutex_init(&announcer->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&announcer->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&announcer->thread, NULL, announce, announcer) != 0) {
        log_error("cannot start a thread");
        abort();
    }
    return announcer;
}

void announce_up(struct announcer *announcer)
{
    give_order(announcer, ORDER_UP);
}

void announce_drain(struct announcer *announcer)
{
    give_order(announcer, ORDER_DRAIN);
}

bool announce_wait(struct announcer *announcer, unsigned seconds)
{
    struct timespec until;
    bool done;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&announcer->mutex);
    while (announcer->done != announcer->ordered)
        if (pthread_cond_timedwait(&announcer->changed, &announcer->mutex, &until) == ETIMEDOUT)
            break;
    done = announcer->done == announcer->ordered;
    pthread_mutex_unlock(&announcer->mutex);
    return done;
}

void announce_stop(struct announcer *announcer)
{
    give_order(announcer, ORDER_REMOVE);
    if (!announce_wait(announcer, REMOVE_SECONDS))
        log_warn("the registry could not be told that this backend ends; its row grows old there");
    pthread_mutex_lock(&announcer->mutex);
    announcer->given_up = true;
    pthread_cond_broadcast(&announcer->changed);
    pthread_mutex_unlock(&announcer->mutex);
    pthread_join(announcer->thread, NULL);
    mysql_library_end();
    pthread_cond_destroy(&announcer->changed);
    pthread_mutex_destroy(&announcer->mutex);
    free(announcer);
}
