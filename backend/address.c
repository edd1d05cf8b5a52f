#include "address.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static bool parse_port(const char *text, unsigned *port)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    *port = (unsigned)atoi(text);
    return *port >= 1 && *port <= 65535;
}

static bool set_ipv4(struct address *address)
{
    struct sockaddr_in *socket = (struct sockaddr_in *)&address->socket;

    socket->sin_family = AF_INET;
    socket->sin_port = htons((uint16_t)address->port);
    address->socket_len = sizeof(*socket);
    return inet_pton(AF_INET, address->host, &socket->sin_addr) == 1;
}

static bool set_ipv6(struct address *address)
{
    struct sockaddr_in6 *socket = (struct sockaddr_in6 *)&address->socket;

    socket->sin6_family = AF_INET6;
    socket->sin6_port = htons((uint16_t)address->port);
    address->socket_len = sizeof(*socket);
    return inet_pton(AF_INET6, address->host, &socket->sin6_addr) == 1;
}

bool address_parse(const char *text, struct address *address)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : 0;
    bool brackets = len > 2 && text[0] == '[' && text[len - 1] == ']';

    memset(address, 0, sizeof(*address));
    if (strlen(text) >= sizeof(address->text))
        return false;
    strcpy(address->text, text);
    if (brackets) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof(address->host) || !parse_port(colon + 1, &address->port))
        return false;
    memcpy(address->host, text, len);
    return brackets ? set_ipv6(address) : set_ipv4(address);
}
