#include "support.h"

#include <pthread.h>
#include <regex.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

/* "2026-11-24T05:37:21.123Z info  " */
#define HEAD_LEN 31

/* Standard error is one end of a pair of datagram sockets while a test writes: each write(2) arrives as one
 * message. */
struct capture {
    int old_error, socket;
};

static void capture_begin(struct capture *capture)
{
    int pair[2];

    fflush(stderr);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    capture->socket = pair[0];
    capture->old_error = dup(STDERR_FILENO);
    dup2(pair[1], STDERR_FILENO);
    close(pair[1]);
}

static void capture_end(struct capture *capture)
{
    dup2(capture->old_error, STDERR_FILENO);
    close(capture->old_error);
    close(capture->socket);
}

/* The next message, with a NUL behind it; its length, or -1 when there is none. */
static ssize_t capture_next(struct capture *capture, char *text, size_t size)
{
    ssize_t len = recv(capture->socket, text, size - 1, MSG_DONTWAIT);

    if (len >= 0)
        text[len] = '\0';
    return len;
}

static int default_level(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_INFO);
    return 0;
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    bool matched;

    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    matched = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return matched;
}

#define TIME "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z "

static void test_form(void **state)
{
    static const char *const patterns[] = {TIME "error one 1\n$", TIME "warn  two\n$", TIME "info  three\n$",
                                           TIME "debug four\n$"};
    char lines[COUNT_OF(patterns)][128], none[128];
    struct capture capture;
    size_t i, count = 0;
    ssize_t more;

    (void)state;
    log_set_level(LOG_LEVEL_DEBUG);
    capture_begin(&capture);
    log_error("one %d", 1);
    log_warn("two");
    log_info("%s", "three");
    log_debug("four");
    while (count < COUNT_OF(patterns) && capture_next(&capture, lines[count], sizeof(lines[0])) >= 0)
        count++;
    more = capture_next(&capture, none, sizeof(none));
    capture_end(&capture);

    assert_int_equal(more, -1);
    assert_int_equal(count, COUNT_OF(patterns));
    for (i = 0; i < count; i++)
        assert_row(matches(lines[i], patterns[i]), lines[i]);
    assert_string_equal(lines[1] + HEAD_LEN, "two\n");
}

static void test_time_is_now(void **state)
{
    time_t before = time(NULL), second;
    struct capture capture;
    char line[128] = "", expected[32];
    bool found = false;
    struct tm utc;

    (void)state;
    capture_begin(&capture);
    log_info("now");
    capture_next(&capture, line, sizeof(line));
    capture_end(&capture);
    for (second = before; second <= time(NULL) + 1; second++) {
        gmtime_r(&second, &utc);
        strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.", &utc);
        found = found || strncmp(line, expected, strlen(expected)) == 0;
    }
    assert_row(found, line);
}

static void test_levels(void **state)
{
    int most, level;

    (void)state;
    for (most = LOG_LEVEL_ERROR; most <= LOG_LEVEL_DEBUG; most++) {
        for (level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
            struct capture capture;
            char line[128];
            ssize_t len;

            log_set_level((enum log_level)most);
            capture_begin(&capture);
            log_line((enum log_level)level, "x");
            len = capture_next(&capture, line, sizeof(line));
            capture_end(&capture);
            assert_int_equal(len >= 0, level <= most);
        }
    }
}

static void log_and_take(char *line, size_t size, const char *message)
{
    struct capture capture;
    char none[16];
    ssize_t len, more;

    capture_begin(&capture);
    log_info("%s", message);
    len = capture_next(&capture, line, size);
    more = capture_next(&capture, none, sizeof(none));
    capture_end(&capture);
    assert_true(len > HEAD_LEN);
    assert_int_equal(more, -1);
    assert_int_equal(strlen(line), len);
}

static void test_control_characters(void **state)
{
    int byte;

    (void)state;
    for (byte = 1; byte < 256; byte++) {
        char message[] = {'a', (char)byte, 'b', '\0'}, expected[16], line[128];

        if (byte < 0x20 || byte == 0x7f)
            snprintf(expected, sizeof(expected), "a\\x%02xb\n", (unsigned)byte);
        else
            snprintf(expected, sizeof(expected), "a%cb\n", byte);
        log_and_take(line, sizeof(line), message);
        assert_string_equal(line + HEAD_LEN, expected);
    }
}

/* A name that a client made up cannot look like a line of ours. */
static void test_forged_line(void **state)
{
    char line[256];

    (void)state;
    log_and_take(line, sizeof(line), "x\r\n2026-11-24T05:37:21.123Z error all is lost\n");
    assert_string_equal(line + HEAD_LEN, "x\\x0d\\x0a2026-11-24T05:37:21.123Z error all is lost\\x0a\n");
}

static void test_message_is_not_a_format(void **state)
{
    char line[128];

    (void)state;
    log_and_take(line, sizeof(line), "100%s%n%d %");
    assert_string_equal(line + HEAD_LEN, "100%s%n%d %\n");
}

static void test_empty_message(void **state)
{
    struct capture capture;
    char line[128];
    ssize_t len;

    (void)state;
    capture_begin(&capture);
    log_line(LOG_LEVEL_INFO, "%s", "");
    len = capture_next(&capture, line, sizeof(line));
    capture_end(&capture);
    assert_int_equal(len, HEAD_LEN + 1);
    assert_string_equal(line + HEAD_LEN, "\n");
}

/* The longest name, each byte of it escaped, still leaves room for what stands behind. */
static void test_longest_name(void **state)
{
    static char message[1100], line[16384];

    (void)state;
    memset(message, '\x01', 1024);
    strcpy(message + 1024, ": No such file or directory");
    log_and_take(line, sizeof(line), message);
    assert_int_equal(strlen(line), HEAD_LEN + 4 * 1024 + strlen(message + 1024) + 1);
    assert_non_null(strstr(line, "\\x01: No such file or directory\n"));
}

/* Whatever the length, it is one line, and an escape is whole or not there. */
static void test_long_messages(void **state)
{
    static char message[20001], line[32768];
    size_t len;

    (void)state;
    for (len = 1; len < sizeof(message); len += len < 2000 || len > 2100 ? 97 : 1) {
        int escaped;
        for (escaped = 0; escaped < 2; escaped++) {
            memset(message, escaped ? '\n' : 'x', len);
            message[len] = '\0';
            log_and_take(line, sizeof(line), message);
            assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
            if (escaped)
                assert_int_equal((strlen(line) - HEAD_LEN - 1) % 4, 0);
            if (len <= 1024)
                assert_int_equal(strlen(line), HEAD_LEN + len * (escaped ? 4 : 1) + 1);
        }
    }
}

enum { THREADS = 4, LINES_EACH = 200 };

static void *write_lines(void *argument)
{
    int number = *(int *)argument, i;
    char filling[512];

    memset(filling, 'a' + number, sizeof(filling) - 1);
    filling[sizeof(filling) - 1] = '\0';
    for (i = 0; i < LINES_EACH; i++)
        log_info("thread %d line %d %s", number, i, filling);
    return NULL;
}

/* Lines of several threads stay whole and, of each thread, in order. */
static void test_threads(void **state)
{
    int numbers[THREADS], next[THREADS] = {0}, received = 0, i;
    pthread_t threads[THREADS];
    struct capture capture;
    bool well = true;

    (void)state;
    capture_begin(&capture);
    for (i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    /* The socket holds a few messages only, so the threads wait for us. */
    while (received < THREADS * LINES_EACH && well) {
        char line[1024], expected[1024];
        ssize_t len = recv(capture.socket, line, sizeof(line) - 1, 0);
        int number = -1, at = -1;

        well = len > HEAD_LEN;
        if (!well)
            break;
        line[len] = '\0';
        well = sscanf(line + HEAD_LEN, "thread %d line %d", &number, &at) == 2 && number >= 0 &&
               number < THREADS && at == next[number];
        if (!well)
            break;
        next[number]++;
        received++;
        len = snprintf(expected, sizeof(expected), "thread %d line %d ", number, at);
        memset(expected + len, 'a' + number, 511);
        strcpy(expected + len + 511, "\n");
        well = strcmp(line + HEAD_LEN, expected) == 0;
    }
    /* After a failure the socket's end goes first, or the threads would wait for it forever. */
    capture_end(&capture);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(well);
    assert_int_equal(received, THREADS * LINES_EACH);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_form, default_level),
        cmocka_unit_test_setup(test_time_is_now, default_level),
        cmocka_unit_test_setup(test_levels, default_level),
        cmocka_unit_test_setup(test_control_characters, default_level),
        cmocka_unit_test_setup(test_forged_line, default_level),
        cmocka_unit_test_setup(test_message_is_not_a_format, default_level),
        cmocka_unit_test_setup(test_empty_message, default_level),
        cmocka_unit_test_setup(test_longest_name, default_level),
        cmocka_unit_test_setup(test_long_messages, default_level),
        cmocka_unit_test_setup(test_threads, default_level),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
