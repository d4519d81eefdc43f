// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * bufpool_count_live(), and BUFPOOL_DEBUG=leaks: what is reported, when, and
 * that nothing else is.
 *
 * checkpatch: AVOID_EXTERNS: the linker makes the names of a section's ends
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "tap.h"

#define SIGNALS	300

/* Two functions are in a section of their own: it is known where that ends. */
extern const char __start_leaky_text[], __stop_leaky_text[];

static struct bufpool *bp;
static void *buf;
static char said[16384];
static int status;

noinline __attribute__((section("leaky_text")))
static void leak(size_t size, unsigned int flags)
{
	buf = bufpool_alloc(bp, size, flags);
	require(buf);
}

noinline __attribute__((section("leaky_text")))
static void leak_scope(void)
{
	static struct bufpool_scope scope;

	bufpool_scope_begin(&scope, bp);
	buf = bufpool_scope_alloc(&scope, 100, 0);
	require(buf);
}

/* Run @act in a child, with @debug in the environment; fills @said, @status. */
static void run(void (*act)(void), const char *debug)
{
	ssize_t n, length = 0;
	int fds[2];
	pid_t child;

	require(!pipe(fds));
	child = fork();
	require(child >= 0);
	if (child == 0) {
		if (debug)
			setenv("BUFPOOL_DEBUG", debug, 1);
		else
			unsetenv("BUFPOOL_DEBUG");
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		act();
		exit(7);
	}
	close(fds[1]);
	while ((n = read(fds[0], said + length,
			 sizeof(said) - 1 - (size_t)length)) > 0)
		length += n;
	said[length] = '\0';
	close(fds[0]);
	require(waitpid(child, &status, 0) == child);
}

static bool ended_well(void)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

static bool silent(void)
{
	if (ended_well() && !*said)
		return true;
	printf("# status %#x, said: %s\n", (unsigned int)status, said);
	return false;
}

static int count(const char *what)
{
	const char *s = said;
	int n = 0;

	while ((s = strstr(s, what))) {
		n++;
		s++;
	}
	return n;
}

/* Is the first frame of the report's first trace in leak() or leak_scope()? */
static bool names_leaky(void)
{
	const char *s = strstr(said, "s ago by\n    ");
	unsigned long frame;

	s = s ? strchr(s, '[') : NULL;
	return s && sscanf(s, "[%lx]", &frame) == 1 &&
	       frame > (unsigned long)__start_leaky_text &&
	       frame <= (unsigned long)__stop_leaky_text;
}

static bool reports(int n, const char *when, size_t bytes)
{
	char last[160];

	snprintf(last, sizeof(last),
		 "bufpool: not freed when %s: %d buffer%s %zu bytes\n", when, n,
		 n == 1 ? " that holds" : "s that hold", bytes);
	if (ended_well() && count("bufpool: leak of ") == n && count(last) == 1)
		return true;
	printf("# want: %s# said: %s\n", last, said);
	return false;
}

static const char destroyed[] = "the pool was destroyed";
static const char ended[] = "the process ended";

static void destroy_clean(void)
{
	int i;

	bp = memory_pool(NULL);
	for (i = 0; i < 100; i++) {
		leak(5000, i % 2 ? BUFPOOL_ZERO : 0);
		bufpool_free(bp, buf);
		leak(2 << 20, 0);
		bufpool_free(bp, buf);
	}
	bufpool_destroy(bp);
}

static void destroy_one(void)
{
	bp = memory_pool(NULL);
	leak(5000, 0);
	bufpool_destroy(bp);
}

/* From the CPU's stack, from the depot, zeroed, large, weak. */
static void destroy_several(void)
{
	struct memory_tuning t = memory_defaults;
	void *a, *b;

	t.percpu_cap = 1;
	t.large_threshold_pages = 16;
	bp = memory_pool(&t);
	a = bufpool_alloc(bp, 1, 0);
	b = bufpool_alloc(bp, 1, 0);
	bufpool_free(bp, a);
	bufpool_free(bp, b);
	leak(11, 0);
	leak(12, 0);
	leak(13, BUFPOOL_ZERO);
	leak((size_t)33 << bp->page_shift, 0);
	leak(14, 0);
	require(!bufpool_weaken(bp, buf));
	bufpool_destroy(bp);
}

static void destroy_scope(void)
{
	bp = memory_pool(NULL);
	leak_scope();
	bufpool_destroy(bp);
}

static void *leak_in_thread(void *arg)
{
	leak(5000, 0);
	return arg;
}

static void exit_thread(void)
{
	pthread_t thread;

	bp = memory_pool(NULL);
	require(!pthread_create(&thread, NULL, leak_in_thread, NULL));
	require(!pthread_join(thread, NULL));
}

static void exit_one(void)
{
	bp = memory_pool(NULL);
	leak(5000, 0);
}

static void destroy_late(void)
{
	bufpool_destroy(bp);
}

static void exit_destroys(void)
{
	require(!atexit(destroy_late));
	bp = memory_pool(NULL);
	leak(5000, 0);
	bufpool_free(bp, buf);
}

/* The pool of a parent is not a child's leak, nor its to report. */
static void exit_in_child(void)
{
	int st;
	pid_t child;

	bp = memory_pool(NULL);
	leak(5000, 0);
	child = fork();
	require(child >= 0);
	if (child == 0)
		exit(7);
	require(waitpid(child, &st, 0) == child && WIFEXITED(st) &&
		WEXITSTATUS(st) == 7);
	child = fork();
	require(child >= 0);
	if (child == 0) {
		bufpool_destroy(bp);
		exit(7);
	}
	require(waitpid(child, &st, 0) == child && WIFEXITED(st) &&
		WEXITSTATUS(st) == 7);
	bufpool_free(bp, buf);
	bufpool_destroy(bp);
}

/* Tables are used again, with nothing of the last pool's in them. */
static void many_pools(void)
{
	struct bufpool *pools[3];
	int i, round;

	for (round = 0; round < 20; round++) {
		for (i = 0; i < 3; i++) {
			bp = memory_pool(NULL);
			pools[i] = bp;
			leak(5000, 0);
			bufpool_free(bp, buf);
		}
		for (i = 0; i < 3; i++)
			bufpool_destroy(pools[i]);
	}
	bp = memory_pool(NULL);
	leak(77, 0);
	bufpool_destroy(bp);
}

static void free_twice(void)
{
	struct rlimit no_core = { 0, 0 };

	setrlimit(RLIMIT_CORE, &no_core);
	bp = memory_pool(NULL);
	leak(5000, 0);
	bufpool_free(bp, buf);
	bufpool_free(bp, buf);
}

static unsigned long handled;

static void on_alarm(int sig)
{
	void *mine = bufpool_alloc(bp, 1, 0);

	(void)sig;
	bufpool_free(bp, mine);
	__atomic_add_fetch(&handled, 1, __ATOMIC_RELAXED);
}

static void *work(void *arg)
{
	while (__atomic_load_n(&handled, __ATOMIC_RELAXED) < SIGNALS) {
		void *mine = bufpool_alloc(bp, 1, 0);

		require(mine);
		bufpool_free(bp, mine);
	}
	return arg;
}

static void storm(void)
{
	struct itimerval timer = {
		.it_interval = { .tv_usec = 200 }, .it_value = { .tv_usec = 200 },
	};
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	pthread_t threads[2];
	int i;

	bp = memory_pool(NULL);
	require(!sigaction(SIGALRM, &action, NULL));
	for (i = 0; i < 2; i++)
		require(!pthread_create(&threads[i], NULL, work, NULL));
	require(!setitimer(ITIMER_REAL, &timer, NULL));
	work(NULL);
	for (i = 0; i < 2; i++)
		require(!pthread_join(threads[i], NULL));
	timer = (struct itimerval) { .it_value = { .tv_usec = 0 } };
	require(!setitimer(ITIMER_REAL, &timer, NULL));
	leak(5000, 0);
	bufpool_destroy(bp);
}

/* This program again, set-user-ID to somebody else. */
static char copy[64];

static void exec_copy(void)
{
	setenv("BUFPOOL_BACKEND", "none such", 1);
	execl(copy, copy, "secure", (char *)NULL);
}

static void test_secure(void)
{
	static const char name[] = "set-user-ID: ignored";
	char block[65536];
	int from, to;
	ssize_t n;

	if (geteuid() != 0) {
		tap_skip(name, "needs root to make such a program");
		return;
	}
	snprintf(copy, sizeof(copy), "/tmp/userlib-leaks-XXXXXX");
	from = open("/proc/self/exe", O_RDONLY);
	to = mkstemp(copy);
	require(from >= 0 && to >= 0);
	while ((n = read(from, block, sizeof(block))) > 0)
		require(write(to, block, (size_t)n) == n);
	require(!fchown(to, 65534, 65534) && !fchmod(to, 04755));
	close(from);
	close(to);
	run(exec_copy, "leaks");
	unlink(copy);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 8)
		tap_skip(name, "the file system is mounted nosuid");
	else
		check(silent(), "%s", name);
}

static int main_secure(void)
{
	if (!getauxval(AT_SECURE))
		return 8;
	bp = bufpool_create(NULL);
	require(bp);
	leak(5000, 0);
	bufpool_destroy(bp);
	/* Without a leak checker, which cannot look into such a process. */
	_exit(7);
}

static void test_count(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = 1, i, resident = 0, headers;
	struct memory_tuning t = memory_defaults;
	unsigned char vec[256];
	void *bufs[3];

	/* As many headers as fill 64 pages at least. */
	t.limit_pages = 32 * page / sizeof(struct bufpool_slot);
	bp = memory_pool(&t);
	check(bufpool_count_live(bp, &bytes) == 0 && bytes == 0,
	      "count: none in a new pool");
	bufs[0] = bufpool_alloc(bp, page, 0);
	bufs[1] = bufpool_alloc(bp, 9 * page, 0);
	bufs[2] = bufpool_alloc(bp, 5000 * page, 0);
	errno = 0;
	check(bufpool_count_live(bp, &bytes) == 3 && bytes == 5011 * page,
	      "count: buffers, and the bytes they hold");
	bufpool_free(bp, bufs[2]);
	check(bufpool_count_live(bp, NULL) == 2 && errno == 0,
	      "count: not those that are free");
	headers = (bp->nr_pages * sizeof(*bp->slots) + page - 1) / page;
	require(headers >= 64 && headers <= sizeof(vec));
	require(!mincore(bp->slots, headers * page, vec));
	for (i = 0; i < headers; i++)
		resident += vec[i] & 1;
	check(resident == 3, "count: headers nobody used get no memory");
	bufs[2] = bufpool_alloc(bp, 5001 * page, 0);
	check(bufpool_count_live(bp, &bytes) == 3 && bytes == 5012 * page,
	      "count: in several pages of headers");
	for (i = 0; i < 3; i++)
		bufpool_free(bp, bufs[i]);
	bufpool_destroy(bp);
}

int main(int argc, char **argv)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (argc > 1 && !strcmp(argv[1], "secure"))
		return main_secure();
	unsetenv("BUFPOOL_DEBUG");
	test_count();

	run(destroy_one, NULL);
	check(silent(), "not set: nothing is said");
	run(destroy_one, "leak,,leaksx,xleaks");
	check(silent(), "other words: nothing is said");
	run(destroy_clean, "leaks");
	check(silent(), "all freed: nothing is said");
	run(exit_destroys, "leaks");
	check(silent(), "destroyed by an atexit handler: nothing");

	run(destroy_one, "leaks");
	check(reports(1, destroyed, 2 * page) && count("leak of 5000 bytes"),
	      "destroy: one, with its size");
	check(names_leaky(), "the trace begins where the program allocates");
	check(count("\n    ") >= 3 && count(" s ago by\n") == 1,
	      "and has the callers, and an age");
	run(destroy_one, "x,leaks");
	check(reports(1, destroyed, 2 * page), "in a list");
	run(destroy_several, "leaks");
	check(reports(5, destroyed, (1 + 1 + 1 + 33 + 1) * page) &&
	      count("leak of 11 b") && count("leak of 12 b") &&
	      count("leak of 13 b") && count("leak of 14 b") &&
	      count(" s ago by\n") == 5, "several, from every place");
	run(destroy_scope, "leaks");
	check(reports(1, destroyed, page) && names_leaky(),
	      "a scope that did not end");
	run(exit_one, "leaks");
	check(reports(1, ended, 2 * page) && names_leaky(),
	      "a pool not destroyed: at exit");
	run(exit_thread, "leaks");
	check(reports(1, ended, 2 * page) && names_leaky(),
	      "allocated by a thread that is gone");
	run(exit_in_child, "leaks");
	check(silent(), "a child does not report its parent's pool");
	run(many_pools, "leaks");
	check(reports(1, destroyed, page) && count("leak of 77 bytes"),
	      "the last of many pools");
	run(storm, "leaks");
	check(reports(1, destroyed, 2 * page), "threads and signal handlers");
	run(free_twice, "leaks");
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
	      count("already free\n") == 1, "misuse aborts as without");
	test_secure();
	return tap_end();
}
