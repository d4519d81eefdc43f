// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Readings from /proc and getrusage().
 */
#include "process.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sys/resource.h>

/* A line of @path is "@key   123 kB". */
static int64_t read_size(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	const size_t length = strlen(key);
	int64_t bytes = -1;
	char line[256];

	if (!file)
		return -1;
	while (bytes < 0 && fgets(line, sizeof(line), file)) {
		int64_t kib;

		if (!strncmp(line, key, length) &&
		    sscanf(line + length, "%" SCNd64 " kB", &kib) == 1)
			bytes = kib * 1024;
	}
	fclose(file);
	return bytes;
}

long process_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

int64_t process_resident(void)
{
	/* VmRSS is an estimate where the kernel counts per CPU; this is exact. */
	return read_size("/proc/self/smaps_rollup", "Rss:");
}

int64_t process_peak(void)
{
	return read_size("/proc/self/status", "VmHWM:");
}
