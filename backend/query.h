#ifndef CEPH_LB_QUERY_H
#define CEPH_LB_QUERY_H

/* The query of a URL, as HTML forms write it: NAME=VALUE&NAME=VALUE, percent-encoded, "+" for a space. */

#include "buffer.h"
#include "slice.h"

/* A parser's place in a query. Start with {query, …}; see query_next. */
struct query {
    struct slice rest;
    struct buffer name;  /* of the parameter found, decoded; freed by query_end */
    struct buffer value; /* likewise; empty for a parameter without "=" */
};

void query_begin(struct query *query, struct slice text);

/* 1: the next parameter is in name and value; 0: there are no more; -1: wrong percent-encoding. */
int query_next(struct query *query);

void query_end(struct query *query);

#endif
