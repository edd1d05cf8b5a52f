#ifndef CEPH_LB_OPTIONS_H
#define CEPH_LB_OPTIONS_H

/*
 * What can be set: on the command line (--op-timeout 5) or in the environment (CEPH_LB_OP_TIMEOUT=5); the
 * command line wins. One table in options.c holds names, types, ranges, defaults and the text of --help.
 */

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *listen; /* what address_parse takes; announce_address, too */
    uint64_t threads;   /* 0: one per core */
    uint64_t workers;
    uint64_t connections;
    uint64_t memory; /* bytes */
    const char *spool_dir;
    uint64_t max_file_size;                                /* bytes */
    uint64_t request_timeout, send_timeout, drain_timeout; /* seconds */

    const char *pool;
    const char *data_pool; /* NULL: as `pool` */
    const char *ceph_conf; /* NULL: librados' own search */
    const char *ceph_name;
    uint64_t op_timeout;                                     /* seconds */
    uint64_t upload_grace, download_grace, collect_interval; /* seconds */
    uint64_t scrub_interval;                                 /* seconds */
    uint64_t scrub_rate;                                     /* heads a second */

    const char *announce;                                 /* a URL; NULL: do not */
    const char *announce_address;                         /* NULL: as `listen` */
    const char *announce_password_file, *announce_ssl_ca; /* NULL: none */

    bool access_log;
    uint64_t log_level;   /* enum log_level */
    const char *pid_file; /* NULL: none */
};

enum options_result {
    OPTIONS_RUN,   /* all is set */
    OPTIONS_DONE,  /* --help or --version was answered on standard output */
    OPTIONS_WRONG, /* said on standard error */
};

/* Strings point into argv and the environment. */
enum options_result options_parse(int argc, char *const *argv, struct options *options);

#endif
