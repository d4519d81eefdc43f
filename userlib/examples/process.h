/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * What the kernel says about this process.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdint.h>

/**
 * process_faults - page faults so far, of all threads
 *
 * Return: those that needed no disk.
 */
long process_faults(void);

/**
 * process_resident - physical memory mapped now
 *
 * A pool's buffers count: they are mapped into the process.
 *
 * Return: bytes, or -1.
 */
int64_t process_resident(void);

/**
 * process_peak - the most process_resident() has been
 *
 * Return: bytes, or -1.
 */
int64_t process_peak(void);

#endif /* PROCESS_H */
