/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Test Anything Protocol output.  A test program counts its checks itself; one
 * that dies before tap_end() has printed no plan and so has failed.
 */
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static int tap_count;
static int tap_failures;

/* One check, named in the manner of printf(). */
__attribute__((format(printf, 4, 5), unused))
static bool tap_check(bool ok, const char *expr, int line, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %d - ", ok ? "" : "not ", ++tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (!ok) {
		tap_failures++;
		printf("# line %d: %s\n", line, expr);
	}
	fflush(stdout);
	return ok;
}

#define check(expr, ...) tap_check((expr), #expr, __LINE__, __VA_ARGS__)

__attribute__((unused))
static void tap_skip(const char *name, const char *why)
{
	printf("ok %d - %s # SKIP %s\n", ++tap_count, name, why);
	fflush(stdout);
}

/* What the test needs and cannot go on without. */
#define require(expr)							\
	do {								\
		if (!(expr)) {						\
			printf("Bail out! line %d: %s\n", __LINE__, #expr); \
			exit(1);					\
		}							\
	} while (0)

__attribute__((unused))
static int tap_end(void)
{
	printf("1..%d\n", tap_count);
	return tap_failures != 0;
}

#endif /* TAP_H */
