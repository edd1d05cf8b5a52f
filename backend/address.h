#ifndef CEPH_LB_ADDRESS_H
#define CEPH_LB_ADDRESS_H

/* ADDRESS:PORT, both numeric, as the command line has them; an IPv6 address stands in brackets. */

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

struct address {
    char text[INET6_ADDRSTRLEN + sizeof("[]:65535")]; /* as it was given */
    char host[INET6_ADDRSTRLEN];                      /* without brackets */
    unsigned port;                                    /* 1 to 65535 */
    struct sockaddr_storage socket;
    socklen_t socket_len;
};

/* False when the text is not of that form; *address is then undefined. */
bool address_parse(const char *text, struct address *address);

#endif
