// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Thumbnails of JPEG files, by several threads, the way a server makes them: each
 * request needs large buffers of all sizes for a moment.  All of them come from
 * an allocator that the command line chooses; a report says what that costs.
 */
#include "allocator.h"
#include "image.h"
#include "jpeg.h"
#include "process.h"
#include "scale.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/stat.h>

#define QUALITY		85
/* The longest side a JPEG file can have. */
#define MAX_SIZE	65535

#define MAX_THREADS	1024

static const char usage[] =
"Usage: thumbnail [OPTION]... FILE...\n"
"\n"
"Makes thumbnails of JPEG files and reports what it cost.\n"
"\n"
"  --allocator NAME  where buffers come from: malloc (default) or bufpool\n"
"  --preset NAME     bufpool: default, minimal, moderate or aggressive; without\n"
"                    it the pool follows the device's settings\n"
"  --trim-period S   bufpool: seconds between two trims of idle memory, instead\n"
"                    of the preset's or the device's\n"
"  --threads N       worker threads, default 1\n"
"  --size PIXELS     the thumbnail's longer side at most, default 256\n"
"  --repeat N        make every thumbnail N times, default 1\n"
"  --output DIR      write them here, under the files' names; default: nowhere\n"
"  --report FORMAT   table (default), or line: the same values between tabs\n"
"  --wait            after the report wait for a line on standard input, then\n"
"                    do it all again with the same allocator, or if the line is\n"
"                    \"idle\" allocate and free a byte, or if it is \"poll\" do what\n"
"                    an idle program does now and then: bufpool_get_stats() or\n"
"                    malloc_trim(); report; at its end, end\n"
"\n"
"The report: allocator, preset, thumbnails made, thumbnails failed, seconds,\n"
"page faults, bytes of memory the process has had resident at most, bytes it\n"
"has resident more than before the first thumbnail, all buffers freed, and bytes\n"
"of these that the pool says it keeps for reuse, when they have been counted;\n"
"while idle it is not asked.\n"
"\n"
"Exit status: 0; 1 if a thumbnail failed the last time, or nothing could be done;\n"
"2 for wrong usage.\n";

/**
 * struct job - what to do, the same for all threads
 * @allocator: where buffers come from
 * @files: the files' names
 * @nr_files: how many
 * @repeat: how often to do each
 * @size: the thumbnails' longer side
 * @output: directory for the thumbnails, or NULL
 * @next: the next request: file @next % @nr_files
 * @failed: requests that failed
 */
struct job {
	struct allocator allocator;
	char *const *files;
	unsigned int nr_files;
	unsigned int repeat;
	unsigned int size;
	const char *output;
	atomic_uint next;
	atomic_uint failed;
};

/**
 * struct file - a file's contents
 * @data: the bytes
 * @size: how many
 */
struct file {
	unsigned char *data;
	size_t size;
};

static int read_file(const struct allocator *a, const char *path,
		     struct file *file, char *why)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t done = 0;
	ssize_t n = 0;

	file->data = NULL;
	if (fd < 0 || fstat(fd, &st))
		goto fail;
	errno = ENODATA;
	if (!st.st_size)
		goto fail;
	file->size = (size_t)st.st_size;
	file->data = a->alloc(a, file->size);
	if (!file->data)
		goto fail;
	while (done < file->size) {
		n = read(fd, file->data + done, file->size - done);
		if (n < 0)
			goto fail;
		if (!n)
			break;
		done += (size_t)n;
	}
	/* It may have become shorter meanwhile. */
	file->size = done;
	close(fd);
	return 0;
fail:
	snprintf(why, WHY_MAX, "%s", strerror(errno));
	if (fd >= 0)
		close(fd);
	a->free(a, file->data);
	return -1;
}

static int write_file(const char *dir, const char *name,
		      const unsigned char *data, size_t size, char *why)
{
	char path[4096];
	size_t done = 0;
	ssize_t n;
	int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		goto fail;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		goto fail;
	while (done < size) {
		n = write(fd, data + done, size - done);
		if (n < 0)
			goto fail;
		done += (size_t)n;
	}
	if (!close(fd))
		return 0;
	fd = -1;
fail:
	snprintf(why, WHY_MAX, "cannot write the thumbnail: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The size of a thumbnail: never larger than the photo, never empty. */
static struct image thumbnail_size(const struct image *photo, unsigned int size)
{
	const unsigned int longer = photo->width > photo->height ?
				    photo->width : photo->height;
	struct image thumbnail = { photo->width, photo->height, NULL };

	if (longer > size) {
		const unsigned long long half = longer / 2;

		thumbnail.width = (unsigned int)
			(((unsigned long long)photo->width * size + half) / longer);
		thumbnail.height = (unsigned int)
			(((unsigned long long)photo->height * size + half) / longer);
	}
	if (!thumbnail.width)
		thumbnail.width = 1;
	if (!thumbnail.height)
		thumbnail.height = 1;
	return thumbnail;
}

static int make_thumbnail(const struct job *job, const char *path, bool write,
			  char *why)
{
	const struct allocator *a = &job->allocator;
	struct image photo, thumbnail;
	struct file file, jpeg;
	int ret;

	ret = read_file(a, path, &file, why);
	if (ret)
		return ret;
	ret = jpeg_decode(a, file.data, file.size, &photo, why);
	a->free(a, file.data);
	if (ret)
		return ret;

	thumbnail = thumbnail_size(&photo, job->size);
	ret = scale(a, &photo, &thumbnail);
	if (ret)
		snprintf(why, WHY_MAX, "no buffer: %s", strerror(errno));
	a->free(a, photo.rgb);
	if (ret)
		return ret;

	ret = jpeg_encode(a, &thumbnail, QUALITY, &jpeg.data, &jpeg.size, why);
	a->free(a, thumbnail.rgb);
	if (ret)
		return ret;

	if (write)
		ret = write_file(job->output, base_name(path), jpeg.data,
				 jpeg.size, why);
	a->free(a, jpeg.data);
	return ret;
}

static void *work(void *arg)
{
	struct job *job = arg;
	const unsigned int total = job->nr_files * job->repeat;
	unsigned int i;

	while ((i = atomic_fetch_add(&job->next, 1)) < total) {
		const char *path = job->files[i % job->nr_files];
		/* Written once, and by then out of buffers used before. */
		const bool write = job->output && i >= total - job->nr_files;
		char why[WHY_MAX];

		if (!make_thumbnail(job, path, write, why))
			continue;
		atomic_fetch_add(&job->failed, 1);
		fprintf(stderr, "thumbnail: %s: %s\n", path, why);
	}
	return NULL;
}

/* Returns 0 or an errno: then not all has been done. */
static int run(struct job *job, unsigned int nr_threads)
{
	pthread_t threads[MAX_THREADS];
	unsigned int started;
	int ret = 0;

	atomic_store(&job->next, 0);
	atomic_store(&job->failed, 0);
	for (started = 0; started < nr_threads; started++) {
		ret = pthread_create(&threads[started], NULL, work, job);
		if (ret) {
			/* Fewer threads would be another measurement. */
			atomic_store(&job->next, job->nr_files * job->repeat);
			break;
		}
	}
	while (started)
		pthread_join(threads[--started], NULL);
	return ret;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/**
 * struct report - what a run cost
 * @allocator: its name
 * @preset: its preset's name, or "-"
 * @made: thumbnails made
 * @failed: thumbnails failed
 * @seconds: elapsed
 * @faults: page faults
 * @peak: most bytes resident
 * @kept: bytes resident at the end beyond those at the start
 * @retained: bytes the pool keeps; -1: not a pool, or not asked
 */
struct report {
	const char *allocator;
	const char *preset;
	unsigned int made;
	unsigned int failed;
	double seconds;
	long faults;
	long long peak;
	long long kept;
	long long retained;
};

static void print_table(const struct report *r)
{
	const double mib = 1 << 20;

	printf("allocator         %s\n", r->allocator);
	printf("preset            %s\n", r->preset);
	printf("thumbnails made   %u\n", r->made);
	printf("  failed          %u\n", r->failed);
	printf("seconds           %.3f\n", r->seconds);
	printf("page faults       %ld\n", r->faults);
	printf("resident, peak    %.1f MiB\n", (double)r->peak / mib);
	printf("  kept at the end %.1f MiB\n", (double)r->kept / mib);
	if (r->retained >= 0)
		printf("  by the pool     %.1f MiB\n", (double)r->retained / mib);
}

static void print_line(const struct report *r)
{
	printf("%s\t%s\t%u\t%u\t%.6f\t%ld\t%lld\t%lld\t", r->allocator, r->preset,
	       r->made, r->failed, r->seconds, r->faults, r->peak, r->kept);
	if (r->retained >= 0)
		printf("%lld\n", r->retained);
	else
		printf("-\n");
}

enum order { AGAIN, IDLE, POLL };

/* Returns whether there was one. */
static bool wait_for_order(enum order *order)
{
	char line[16];

	*order = AGAIN;
	for (;;) {
		if (!fgets(line, sizeof(line), stdin))
			return false;
		if (!strcmp(line, "idle\n"))
			*order = IDLE;
		else if (!strcmp(line, "poll\n"))
			*order = POLL;
		if (strchr(line, '\n'))
			return true;
	}
}

static int compare_base_names(const void *a, const void *b)
{
	return strcmp(base_name(*(char *const *)a), base_name(*(char *const *)b));
}

static noreturn void wrong_usage(const char *what, const char *value)
{
	fprintf(stderr, "thumbnail: %s%s\nthumbnail: see --help\n", what, value);
	exit(2);
}

static unsigned int parse_number(const char *text, unsigned int max)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || number < 1 || number > max)
		wrong_usage("not a number in range: ", text);
	return (unsigned int)number;
}

/* Two thumbnails of one name would be written by two threads at a time. */
static void refuse_duplicates(const struct job *job)
{
	char **sorted = malloc(job->nr_files * sizeof(*sorted));
	unsigned int i;

	if (!sorted) {
		perror("thumbnail");
		exit(1);
	}
	memcpy(sorted, job->files, job->nr_files * sizeof(*sorted));
	qsort(sorted, job->nr_files, sizeof(*sorted), compare_base_names);
	for (i = 1; i < job->nr_files; i++) {
		if (!compare_base_names(&sorted[i - 1], &sorted[i]))
			wrong_usage("two thumbnails would have the name ",
				    base_name(sorted[i]));
	}
	free(sorted);
}

/**
 * struct options - what is not about a single thumbnail
 * @allocator: its name
 * @preset: its preset's name, or NULL
 * @trim_period: in seconds, or 0: not said
 * @nr_threads: worker threads
 * @wait: do it again for every line of standard input
 * @print: prints a report
 */
struct options {
	const char *allocator;
	const char *preset;
	unsigned int trim_period;
	unsigned int nr_threads;
	bool wait;
	void (*print)(const struct report *report);
};

static void parse_options(int argc, char **argv, struct options *options,
			  struct job *job)
{
	enum { ALLOCATOR = 1, PRESET, TRIM, THREADS, SIZE, REPEAT, OUTPUT, REPORT, WAIT, HELP };
	static const struct option names[] = {
		{ "allocator", required_argument, NULL, ALLOCATOR },
		{ "preset", required_argument, NULL, PRESET },
		{ "trim-period", required_argument, NULL, TRIM },
		{ "threads", required_argument, NULL, THREADS },
		{ "size", required_argument, NULL, SIZE },
		{ "repeat", required_argument, NULL, REPEAT },
		{ "output", required_argument, NULL, OUTPUT },
		{ "report", required_argument, NULL, REPORT },
		{ "wait", no_argument, NULL, WAIT },
		{ "help", no_argument, NULL, HELP },
		{ }
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case ALLOCATOR:
			options->allocator = optarg;
			break;
		case PRESET:
			options->preset = optarg;
			break;
		case TRIM:
			options->trim_period = parse_number(optarg, 1000000);
			break;
		case THREADS:
			options->nr_threads = parse_number(optarg, MAX_THREADS);
			break;
		case SIZE:
			job->size = parse_number(optarg, MAX_SIZE);
			break;
		case REPEAT:
			job->repeat = parse_number(optarg, 1000000);
			break;
		case OUTPUT:
			job->output = optarg;
			break;
		case REPORT:
			if (!strcmp(optarg, "line"))
				options->print = print_line;
			else if (strcmp(optarg, "table"))
				wrong_usage("no such report: ", optarg);
			break;
		case WAIT:
			options->wait = true;
			break;
		case HELP:
			fputs(usage, stdout);
			exit(0);
		default:
			wrong_usage("wrong option", "");
		}
	}
	if ((options->preset || options->trim_period) &&
	    strcmp(options->allocator, "bufpool"))
		wrong_usage("only bufpool has presets and trims", "");

	job->files = argv + optind;
	job->nr_files = (unsigned int)(argc - optind);
	if (!job->nr_files)
		wrong_usage("no files", "");
	if (job->nr_files > UINT_MAX / 2 / job->repeat)
		wrong_usage("too many files", "");
	if (job->output)
		refuse_duplicates(job);
}

/* Before the pool is asked anything: that may be when it gives memory back. */
static void report_memory(struct report *report, int64_t resident)
{
	report->kept = process_resident() - resident;
	report->peak = process_peak();
}

static void print_report(const struct options *options, struct report *report)
{
	report->allocator = options->allocator;
	report->preset = options->preset ? options->preset : "-";
	options->print(report);
	fflush(stdout);
}

/* Do the job once and report.  Returns whether all of it was done. */
static bool measure(const struct options *options, struct job *job, int64_t resident)
{
	struct report report = { };
	const long faults = process_faults();
	const double start = now();
	int error;

	error = run(job, options->nr_threads);
	if (error) {
		fprintf(stderr, "thumbnail: cannot start a thread: %s\n", strerror(error));
		return false;
	}
	report.seconds = now() - start;
	report.faults = process_faults() - faults;
	report.failed = atomic_load(&job->failed);
	report.made = job->nr_files * job->repeat - report.failed;
	report_memory(&report, resident);
	report.retained = allocator_retained(&job->allocator);
	print_report(options, &report);
	return !report.failed;
}

/* Report without having done anything but to call the allocator. */
static void measure_idle(const struct options *options, struct job *job, bool poll,
			 int64_t resident)
{
	struct report report = { .retained = -1 };

	if (poll)
		allocator_poll(&job->allocator);
	else
		job->allocator.free(&job->allocator,
				    job->allocator.alloc(&job->allocator, 1));
	report_memory(&report, resident);
	print_report(options, &report);
}

int main(int argc, char **argv)
{
	struct options options = {
		.allocator = "malloc",
		.nr_threads = 1,
		.print = print_table,
	};
	struct job job = { .repeat = 1, .size = 256 };
	enum order order;
	int64_t resident;
	bool done;

	parse_options(argc, argv, &options, &job);
	if (allocator_open(&job.allocator, options.allocator, options.preset,
			   options.trim_period)) {
		fprintf(stderr, "thumbnail: allocator %s%s%s: %s\n", options.allocator,
			options.preset ? " " : "", options.preset ? options.preset : "",
			strerror(errno));
		return 1;
	}
	resident = process_resident();
	done = measure(&options, &job, resident);
	while (options.wait && wait_for_order(&order)) {
		if (order == AGAIN)
			done = measure(&options, &job, resident);
		else
			measure_idle(&options, &job, order == POLL, resident);
	}
	allocator_close(&job.allocator);
	return done ? 0 : 1;
}
