#include "ceph_lb_flight.h"

#include <assert.h>

static void link_init(ceph_lb_link_t *link);
static int  is_empty(const ceph_lb_link_t *list);
static void insert_before(ceph_lb_link_t *where, ceph_lb_link_t *link);
static void take_off(ceph_lb_link_t *link);
static void move_all(ceph_lb_link_t *to, ceph_lb_link_t *from);

void
ceph_lb_terminal_init(ceph_lb_terminal_t *t)
{
    link_init(&t->waiting);
}

void
ceph_lb_flight_init(ceph_lb_flight_t *f)
{
    link_init(&f->aboard);
    f->flying = 0;
}

int
ceph_lb_is_waited_for(const ceph_lb_terminal_t *t)
{
    return !is_empty(&t->waiting);
}

void
ceph_lb_arrive(ceph_lb_terminal_t *t, ceph_lb_waiter_t *w)
{
    w->diverted = 0;
    insert_before(&t->waiting, &w->link);
}

void
ceph_lb_launch(ceph_lb_terminal_t *t, ceph_lb_flight_t *f)
{
    assert(!f->flying && is_empty(&f->aboard));

    f->flying = 1;
    move_all(&f->aboard, &t->waiting);
}

void
ceph_lb_land(ceph_lb_flight_t *f)
{
    assert(f->flying);

    f->flying = 0;
}

void
ceph_lb_divert(ceph_lb_terminal_t *t, ceph_lb_flight_t *f, unsigned most)
{
    ceph_lb_link_t   *link, *next, *first;
    ceph_lb_waiter_t *w;

    ceph_lb_land(f);

    first = t->waiting.next;

    for (link = f->aboard.next; link != &f->aboard; link = next) {
        next = link->next;
        w = (ceph_lb_waiter_t *) link;

        if (w->diverted < most) {
            w->diverted++;
            take_off(link);
            insert_before(first, link);
        }
    }
}

void
ceph_lb_call_back(ceph_lb_terminal_t *t, ceph_lb_flight_t *f)
{
    ceph_lb_link_t *first = t->waiting.next, *link;

    ceph_lb_land(f);

    while ((link = f->aboard.next) != &f->aboard) {
        take_off(link);
        insert_before(first, link);
    }
}

ceph_lb_waiter_t *
ceph_lb_disembark(ceph_lb_flight_t *f)
{
    ceph_lb_link_t *link = f->aboard.next;

    assert(!f->flying);

    if (link == &f->aboard) {
        return NULL;
    }

    take_off(link);

    return (ceph_lb_waiter_t *) link;
}

void
ceph_lb_leave(ceph_lb_waiter_t *w)
{
    take_off(&w->link);
}

static void
link_init(ceph_lb_link_t *link)
{
    link->prev = link;
    link->next = link;
}

static int
is_empty(const ceph_lb_link_t *list)
{
    return list->next == list;
}

static void
insert_before(ceph_lb_link_t *where, ceph_lb_link_t *link)
{
    link->prev = where->prev;
    link->next = where;
    where->prev->next = link;
    where->prev = link;
}

static void
take_off(ceph_lb_link_t *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link_init(link);
}

static void
move_all(ceph_lb_link_t *to, ceph_lb_link_t *from)
{
    if (is_empty(from)) {
        return;
    }

    to->next = from->next;
    to->prev = from->prev;
    to->next->prev = to;
    to->prev->next = to;
    link_init(from);
}
