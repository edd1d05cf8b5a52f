#define _GNU_SOURCE
#include "http_date.h"

#include <stdio.h>
#include <time.h>

void http_date_format(int64_t seconds, char text[HTTP_DATE_SIZE])
{
    time_t time = (time_t)seconds;
    struct tm utc;

    /* The process stays in the C locale, so the names are the English ones. strftime writes years before 1000 with
     * fewer than the four digits that a date has, and the others that do not fit make it fail. */
    if (gmtime_r(&time, &utc) == NULL || utc.tm_year < 1000 - 1900 ||
        strftime(text, HTTP_DATE_SIZE, "%a, %d %b %Y %H:%M:%S GMT", &utc) == 0)
        strcpy(text, "Thu, 01 Jan 1970 00:00:00 GMT");
}

bool http_date_parse(struct slice text, int64_t *seconds)
{
    static const char *const forms[] = {
        "%a, %d %b %Y %H:%M:%S GMT", /* IMF-fixdate */
        "%A, %d-%b-%y %H:%M:%S GMT", /* RFC 850 */
        "%a %b %e %H:%M:%S %Y",      /* asctime */
    };
    char copy[64];
    size_t i;

    text = slice_trim(text);
    if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.base, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.base, text.len);
    copy[text.len] = '\0';

    for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm utc = {0};
        const char *end = strptime(copy, forms[i], &utc);
        /* strptime takes two digits for a year of the first century, which nobody means. */
        if (end != NULL && *end == '\0' && utc.tm_year >= 0) {
            *seconds = (int64_t)timegm(&utc);
            return true;
        }
    }
    return false;
}

void rfc3339_format(int64_t nanoseconds, char text[RFC3339_SIZE])
{
    time_t time = (time_t)(nanoseconds / 1000000000);
    long microseconds = (long)(nanoseconds % 1000000000 / 1000);
    struct tm utc;
    size_t len;

    if (gmtime_r(&time, &utc) == NULL || utc.tm_year > 9999 - 1900 || microseconds < 0) {
        strcpy(text, "1970-01-01T00:00:00.000000Z");
        return;
    }
    len = strftime(text, RFC3339_SIZE, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + len, RFC3339_SIZE - len, ".%06ldZ", microseconds);
}
