#define _GNU_SOURCE
#include "http_spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SPOOL_FILE_NAME "/ceph-lb-body.XXXXXX"
/* What libh2o may make a file of without us: more than what arrives between two looks at a connection. */
#define LIBRARY_FROM_SIZE (64 * 1024 * 1024)
/* More than one read can bring (a socket's receive buffer): the library, which would lose what is in no file, never has
 * to enlarge the buffer. It is only reserved. */
#define BEHIND_MOST ((size_t)1024 * 1024 * 1024)

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* The size of the file and of its mapping: as libh2o computes it, which unmaps the buffer in the end. */
static size_t mapping_size(size_t capacity)
{
    size_t page = page_size();

    return (offsetof(h2o_buffer_t, _buf) + capacity + page - 1) / page * page;
}

void spool_configure(const char *dir)
{
    size_t room = sizeof(h2o_socket_buffer_mmap_settings.fn_template);

    h2o_socket_buffer_mmap_settings.threshold = LIBRARY_FROM_SIZE;
    snprintf(h2o_socket_buffer_mmap_settings.fn_template, room, "%s" SPOOL_FILE_NAME, dir);
}

static int make_file(void)
{
    char name[FILENAME_MAX];
    int fd;

    snprintf(name, sizeof(name), "%s", h2o_socket_buffer_mmap_settings.fn_template);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd != -1)
        unlink(name);
    return fd;
}

/* Like posix_fallocate, but it says what is wrong in errno. */
static bool take_room(int fd, size_t size)
{
    int error = posix_fallocate(fd, 0, (off_t)size);

    errno = error;
    return error == 0;
}

/* Maps it, and gives it the content of the old one, which is freed. */
static bool make_buffer(h2o_buffer_t **buffer, size_t capacity, size_t room, int flags)
{
    h2o_buffer_t *old = *buffer, *new = MAP_FAILED;
    int fd = make_file(), error;

    if (fd == -1)
        return false;
    if (take_room(fd, room))
        new = mmap(NULL, mapping_size(capacity), PROT_READ | PROT_WRITE, flags,
                   (flags & MAP_ANONYMOUS) != 0 ? -1 : fd, 0);
    if (new == MAP_FAILED) {
        error = errno;
        close(fd);
        errno = error;
        return false;
    }
    new->size = old->size;
    new->bytes = new->_buf;
    new->capacity = capacity;
    new->_prototype = old->_prototype;
    new->_fd = fd;
    memcpy(new->bytes, old->bytes, old->size);
    h2o_buffer__do_free(old);
    *buffer = new;
    return true;
}

bool spool_whole(struct spool *spool, h2o_buffer_t **buffer, size_t size)
{
    assert((*buffer)->bytes != NULL);
    if (spool->kind == SPOOL_WHOLE)
        return true;
    if (!make_buffer(buffer, size + BEHIND_MOST, mapping_size(size),
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE))
        return false;
    *spool = (struct spool){.kind = SPOOL_WHOLE, .end = offsetof(h2o_buffer_t, _buf) + size};
    return true;
}

static bool grow_file(h2o_buffer_t **buffer, size_t capacity)
{
    h2o_buffer_t *old = *buffer, *new;
    size_t offset = (size_t)(old->bytes - old->_buf);

    if (!take_room(old->_fd, mapping_size(capacity)))
        return false;
    new = mremap(old, mapping_size(old->capacity), mapping_size(capacity), MREMAP_MAYMOVE);
    if (new == MAP_FAILED)
        return false;
    new->bytes = new->_buf + offset;
    new->capacity = capacity;
    *buffer = new;
    return true;
}

bool spool_grow(struct spool *spool, h2o_buffer_t **buffer, size_t capacity)
{
    h2o_buffer_t *old = *buffer;

    assert(old->bytes != NULL && old->size <= capacity);
    if (spool->kind == SPOOL_GROWING) {
        capacity += (size_t)(old->bytes - old->_buf);
        return capacity <= old->capacity || grow_file(buffer, capacity);
    }
    if (!make_buffer(buffer, capacity, mapping_size(capacity), MAP_SHARED))
        return false;
    *spool = (struct spool){.kind = SPOOL_GROWING, .filed = SIZE_MAX, .end = SIZE_MAX};
    return true;
}

/* Writes what lies before `end` and is not in the file, and maps the file in its place. Both are whole pages. */
static bool file_up_to(struct spool *spool, const h2o_buffer_t *buffer, size_t end)
{
    char *base = (char *)buffer;
    size_t written = spool->filed;

    while (written < end) {
        ssize_t n = pwrite(buffer->_fd, base + written, end - written, (off_t)written);

        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        written += (size_t)n;
    }
    if (mmap(base + spool->filed, end - spool->filed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
             buffer->_fd, (off_t)spool->filed) == MAP_FAILED)
        return false;
    spool->filed = end;
    return true;
}

/* Whole pages only; that of the beginning too, which may have been touched again. The first one has libh2o's own. */
void spool_release(struct spool *spool, const h2o_buffer_t *buffer, struct slice part)
{
    size_t page = page_size(), begin, end;

    if (spool->kind == SPOOL_NONE || buffer->bytes == NULL || part.base < buffer->_buf ||
        part.base + part.len > buffer->_buf + buffer->capacity)
        return;
    begin = (size_t)(part.base - (const char *)buffer);
    end = begin + part.len < spool->end ? begin + part.len : spool->end;
    begin = begin < page ? page : begin / page * page;
    end = end / page * page;
    if (spool->filed < page)
        spool->filed = page;
    /* What cannot be written stays in memory. */
    if (end > spool->filed && !file_up_to(spool, buffer, end))
        return;
    if (begin < end)
        (void)madvise((char *)buffer + begin, end - begin, MADV_DONTNEED);
}
