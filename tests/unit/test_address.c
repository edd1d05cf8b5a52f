#include "support.h"

#include <arpa/inet.h>

#include "address.h"

static void test_ipv4(void **state)
{
    struct address address;
    const struct sockaddr_in *socket = (const struct sockaddr_in *)&address.socket;

    (void)state;
    assert_true(address_parse("127.0.0.1:65535", &address));
    assert_string_equal(address.host, "127.0.0.1");
    assert_string_equal(address.text, "127.0.0.1:65535");
    assert_int_equal(address.port, 65535);
    assert_int_equal(address.socket_len, sizeof(*socket));
    assert_int_equal(socket->sin_family, AF_INET);
    assert_int_equal(ntohs(socket->sin_port), 65535);
    assert_int_equal(ntohl(socket->sin_addr.s_addr), 0x7f000001);
}

static void test_ipv6(void **state)
{
    struct address address;
    const struct sockaddr_in6 *socket = (const struct sockaddr_in6 *)&address.socket;

    (void)state;
    assert_true(address_parse("[::1]:1", &address));
    assert_string_equal(address.host, "::1");
    assert_int_equal(address.port, 1);
    assert_int_equal(address.socket_len, sizeof(*socket));
    assert_int_equal(socket->sin6_family, AF_INET6);
    assert_int_equal(ntohs(socket->sin6_port), 1);
    assert_memory_equal(&socket->sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback));
}

static void test_refused(void **state)
{
    static const char *const rows[] = {
        "",
        ":",
        "8080",
        ":8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999",
        "127.0.0.1:-1",
        "127.0.0.1: 1",
        "127.0.0.1:1x",
        "127.0.0.1:1 ",
        "127.0.0:1",
        "localhost:1",
        "::1:8080",
        "[::1]",
        "[::1:8080",
        "::1]:8080",
        "[]:8080",
        "[127.0.0.1]:8080",
        "[0000:0000:0000:0000:0000:0000:0000:0000:0000]:8080",
    };
    struct address address;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(rows); i++)
        assert_row(!address_parse(rows[i], &address), rows[i]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ipv4),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_refused),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
