// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Creating and destroying a pool, and the calls that only the kernel answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu.h"
#include "pool.h"

static int device_request(struct bufpool *bp, unsigned int cmd, void *arg)
{
	return ioctl(bp->fd, cmd, arg) < 0 ? -errno : 0;
}

/* The headers are in page cache that is not reclaimed: resident, once touched. */
static void device_headers(struct bufpool *bp, uint64_t first, size_t n,
			   unsigned char *used)
{
	/* If the kernel will not tell, all of them have to be read. */
	if (mincore(&bp->slots[first], n << bp->page_shift, used))
		memset(used, 1, n);
}

static void device_close(struct bufpool *bp)
{
	close(bp->fd);
}

static const struct bufpool_backend device_backend = {
	.name = "device",
	.request = device_request,
	.headers = device_headers,
	.close = device_close,
};

/*
 * A pool over a mapping of @map_bytes at @map, which begins with a control
 * region, served by @backend.  The pool owns mapping and @fd (-1: none) from
 * then on.  NULL and errno if there is no memory for it (the mapping is the
 * caller's still), or ENODEV if the region is of another ABI version.
 */
struct bufpool *bufpool_open_mapping(const struct bufpool_backend *backend,
				     int fd, void *map, size_t map_bytes)
{
	struct bufpool_control *control = map;
	struct bufpool *bp;

	if (control->abi_version != BUFPOOL_ABI_VERSION) {
		errno = ENODEV;
		return NULL;
	}
	bp = aligned_alloc(alignof(struct bufpool), sizeof(*bp));
	if (!bp)
		return NULL;

	*bp = (struct bufpool) {
		.data = (char *)map + control->data_offset,
		.slots = (void *)((char *)map + control->slot_offset),
		.stacks = (void *)((char *)map + control->cpu_offset),
		.control = control,
		.rseq_offset = cpu_rseq_offset(),
		.nr_pages = (uint32_t)control->nr_pages,
		.fast_cpus = control->nr_cpus,
		.nr_classes = control->nr_classes,
		.page_shift = control->page_shift,
		.nr_cpus = control->nr_cpus,
		.fd = fd,
		.backend = backend,
		.map_bytes = map_bytes,
		.creator = getpid(),
	};
	bufpool_leaks_open(bp);
	return bp;
}

static struct bufpool *device_create(const struct bufpool_config *cfg, int fd)
{
	struct bufpool_setup setup = {
		.size = sizeof(setup), .config = (uintptr_t)cfg,
	};
	struct bufpool *bp;
	size_t map_bytes;
	void *map;
	int err;

	if (ioctl(fd, BUFPOOL_IOC_SETUP, &setup) < 0)
		goto close_fd;

	map_bytes = setup.data_offset + setup.data_bytes;
	map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		goto close_fd;
	bp = bufpool_open_mapping(&device_backend, fd, map, map_bytes);
	if (!bp)
		goto unmap;
	return bp;

unmap:
	err = errno;
	munmap(map, map_bytes);
	errno = err;
close_fd:
	err = errno;
	close(fd);
	errno = err;
	return NULL;
}

/* open() of the device failed because there is none for this process. */
static bool device_is_missing(int err)
{
	switch (err) {
	case ENOENT:	/* no such file */
	case ENOTDIR:
	case ENODEV:	/* no module behind it */
	case ENXIO:
	case EACCES:	/* not for this user, */
	case EPERM:	/* not in this container */
		return true;
	default:
		return false;
	}
}

static struct bufpool *anonymous_create(const struct bufpool_config *cfg)
{
	return bufpool_anonymous_create(cfg,
					(uint32_t)sysconf(_SC_NPROCESSORS_CONF));
}

struct bufpool *bufpool_create(const struct bufpool_config *cfg)
{
	const char *backend = secure_getenv("BUFPOOL_BACKEND");
	int err = errno, fd;

	if (backend && !strcmp(backend, "anonymous"))
		return anonymous_create(cfg);
	if (backend && strcmp(backend, "device")) {
		errno = EINVAL;
		return NULL;
	}
	fd = open("/dev/bufpool", O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return device_create(cfg, fd);
	if (backend || !device_is_missing(errno))
		return NULL;
	errno = err;
	return anonymous_create(cfg);
}

void bufpool_destroy(struct bufpool *bp)
{
	int err = errno;

	if (!bp)
		return;
	/* In a child something else may be mapped where the pool was. */
	if (bp->creator == getpid()) {
		/* If the end of the process got here first, it shall have it. */
		if (!bufpool_leaks_close(bp))
			return;
		munmap(bp->control, bp->map_bytes);
	}
	bp->backend->close(bp);
	free(bp);
	errno = err;
}

int64_t bufpool_release_retained(struct bufpool *bp)
{
	struct bufpool_release release = { .size = sizeof(release) };
	int ret = bp->backend->request(bp, BUFPOOL_IOC_RELEASE_RETAINED,
				       &release);

	return ret ? ret : (int64_t)release.released_bytes;
}

int bufpool_get_config(struct bufpool *bp, struct bufpool_config *cfg)
{
	*cfg = (struct bufpool_config) {
		.size = sizeof(*cfg), .flags = cfg->flags,
	};
	return bp->backend->request(bp, BUFPOOL_IOC_GET_CONFIG, cfg);
}

int bufpool_set_config(struct bufpool *bp, const struct bufpool_config *cfg)
{
	/* The kernel reads it and checks its size, which the caller's knows. */
	return bp->backend->request(bp, BUFPOOL_IOC_SET_CONFIG, (void *)cfg);
}

int bufpool_get_stats(struct bufpool *bp, struct bufpool_stats *st)
{
	*st = (struct bufpool_stats) { .size = sizeof(*st) };
	return bp->backend->request(bp, BUFPOOL_IOC_STATS, st);
}

const char *bufpool_backend(const struct bufpool *bp)
{
	return bp->backend->name;
}
