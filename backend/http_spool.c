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

/* Nothing is read before it was written, so the kernel need not read ahead: what it would find there is zeroes. */
static void expect_no_reading_ahead(h2o_buffer_t *buffer, size_t size)
{
    (void)madvise(buffer, size, MADV_RANDOM);
}

static bool move_into_file(h2o_buffer_t **buffer, size_t capacity)
{
    h2o_buffer_t *old = *buffer, *new;
    size_t size = mapping_size(capacity);
    int fd = make_file(), error;

    if (fd == -1)
        return false;
    new = take_room(fd, size) ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (new == MAP_FAILED) {
        error = errno;
        close(fd);
        errno = error;
        return false;
    }
    expect_no_reading_ahead(new, size);
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

static bool grow_file(h2o_buffer_t **buffer, size_t capacity)
{
    h2o_buffer_t *old = *buffer, *new;
    size_t offset = (size_t)(old->bytes - old->_buf);

    if (!take_room(old->_fd, mapping_size(capacity)))
        return false;
    new = mremap(old, mapping_size(old->capacity), mapping_size(capacity), MREMAP_MAYMOVE);
    if (new == MAP_FAILED)
        return false;
    expect_no_reading_ahead(new, mapping_size(capacity));
    new->bytes = new->_buf + offset;
    new->capacity = capacity;
    *buffer = new;
    return true;
}

bool spool_reserve(h2o_buffer_t **buffer, size_t capacity)
{
    h2o_buffer_t *old = *buffer;

    assert(old->bytes != NULL && old->size <= capacity);
    if (old->_fd == -1)
        return move_into_file(buffer, capacity);
    capacity += (size_t)(old->bytes - old->_buf);
    return capacity <= old->capacity || grow_file(buffer, capacity);
}

void spool_release(const h2o_buffer_t *buffer, struct slice part)
{
    uintptr_t page, begin, end;

    if (buffer->bytes == NULL || buffer->_fd == -1 || part.base < buffer->_buf ||
        part.base + part.len > buffer->_buf + buffer->capacity)
        return;
    /* Whole pages only; that of the beginning too, which may have been touched again. */
    page = page_size();
    begin = (uintptr_t)part.base / page * page;
    end = ((uintptr_t)part.base + part.len) / page * page;
    if (begin < end)
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}
