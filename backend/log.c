#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A longer line is cut. Room for a name of 1024 bytes with each byte as \xHH, and some words around it. */
#define LINE_SIZE 8192

static enum log_level level_most = LOG_LEVEL_INFO;

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARN] = "warn ",
    [LOG_LEVEL_INFO] = "info ",
    [LOG_LEVEL_DEBUG] = "debug",
};

void log_set_level(enum log_level level)
{
    level_most = level;
}

static size_t append_printable(char *line, size_t len, const char *text)
{
    for (; *text != '\0' && len < LINE_SIZE - 6; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte == 0x7f)
            len += (size_t)snprintf(line + len, 5, "\\x%02x", byte);
        else
            line[len++] = (char)byte;
    }
    return len;
}

void log_line(enum log_level level, const char *format, ...)
{
    char message[LINE_SIZE], line[LINE_SIZE];
    struct timespec now;
    struct tm utc;
    size_t len;
    va_list arguments;

    if (level > level_most)
        return;

    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    len = strftime(line, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    len += (size_t)snprintf(line + len, 32, ".%03dZ %s ", (int)(now.tv_nsec / 1000000), level_names[level]);
    len = append_printable(line, len, message);
    line[len++] = '\n';
    /* Nothing useful can be done when standard error is gone. */
    (void)!write(STDERR_FILENO, line, len);
}
