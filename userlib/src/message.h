/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * One line for standard error, formatted on the stack and written with write(2):
 * fit for a signal handler, and for a process whose heap is in ruins.
 */
#ifndef BUFPOOL_MESSAGE_H
#define BUFPOOL_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

struct message {
	char text[192];
	size_t length;
};

static inline void add_string(struct message *msg, const char *s)
{
	while (*s && msg->length < sizeof(msg->text))
		msg->text[msg->length++] = *s++;
}

/* @value in @base, 10 or 16, with zeroes before it up to @width digits. */
static inline void add_digits(struct message *msg, uint64_t value,
			      unsigned int base, unsigned int width)
{
	char digits[24];
	size_t at = sizeof(digits);

	digits[--at] = '\0';
	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value || sizeof(digits) - 1 - at < width);
	add_string(msg, digits + at);
}

static inline void add_number(struct message *msg, uint64_t value)
{
	add_digits(msg, value, 10, 1);
}

static inline void add_pointer(struct message *msg, const void *p)
{
	add_string(msg, "0x");
	add_digits(msg, (uintptr_t)p, 16, 1);
}

static inline void message_write(const struct message *msg)
{
	/* Nobody is left to tell if that fails. */
	ssize_t written = write(STDERR_FILENO, msg->text, msg->length);

	(void)written;
}

#endif /* BUFPOOL_MESSAGE_H */
