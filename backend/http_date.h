#ifndef CEPH_LB_HTTP_DATE_H
#define CEPH_LB_HTTP_DATE_H

/* Dates as HTTP writes them (RFC 9110, 5.6.7): "Sun, 06 Nov 1994 08:49:37 GMT". Any thread. */

#include <stdint.h>

#include "slice.h"

#define HTTP_DATE_SIZE 30 /* with the NUL */

/* A time whose year has not four digits becomes the one of 1970-01-01T00:00:00Z. */
void http_date_format(int64_t seconds, char text[HTTP_DATE_SIZE]);

/* All three forms that RFC 9110 asks a recipient to take. False when it is none of them. */
bool http_date_parse(struct slice text, int64_t *seconds);

/* "1994-11-06T08:49:37.123456Z" (RFC 3339), as the JSON answers write times. */
#define RFC3339_SIZE 28
void rfc3339_format(int64_t nanoseconds, char text[RFC3339_SIZE]);

#endif
