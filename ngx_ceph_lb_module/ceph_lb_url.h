/*
 * Where the registry is: the parts of a URL of one of the forms
 *
 *     mysql://USER@HOST[:PORT][,HOST[:PORT]...]/DATABASE
 *     mysql://USER@unix:/PATH:/DATABASE
 *
 * where HOST is a name, an IPv4 address, or an IPv6 address in brackets.
 * Plain C: the load balancer and the backend compile this same file.
 * Nothing is allocated, nothing is logged, nothing is resolved.
 */

#ifndef CEPH_LB_URL_H
#define CEPH_LB_URL_H

#include <stddef.h>
#include <stdint.h>

enum {
    CEPH_LB_URL_PORT = 3306,
    CEPH_LB_URL_HOSTS_MAX = 8,
    CEPH_LB_URL_USER_MAX = 128,
    CEPH_LB_URL_HOST_MAX = 253,
    CEPH_LB_URL_PATH_MAX = 107, /* sizeof(sun_path) without the final zero */
    CEPH_LB_URL_DATABASE_MAX = 64,
};

typedef struct {
    char     host[CEPH_LB_URL_HOST_MAX + 1]; /* without brackets */
    char     name[CEPH_LB_URL_HOST_MAX + 9]; /* "db:3306", "[::1]:3306" */
    uint16_t port;
} ceph_lb_url_host_t;

typedef struct {
    char               user[CEPH_LB_URL_USER_MAX + 1];
    size_t             nhosts; /* 0 with a unix socket */
    ceph_lb_url_host_t hosts[CEPH_LB_URL_HOSTS_MAX];
    char               path[CEPH_LB_URL_PATH_MAX + 1]; /* empty with hosts */
    char               database[CEPH_LB_URL_DATABASE_MAX + 1];
} ceph_lb_url_t;

/*
 * Takes the len bytes of text apart into *url.  Returns NULL, or a static text
 * which continues a sentence that began with the URL ("has no database name");
 * *url is then undefined.
 */
const char *ceph_lb_url_parse(ceph_lb_url_t *url, const char *text, size_t len);

#endif /* CEPH_LB_URL_H */
