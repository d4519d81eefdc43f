/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
#ifndef JPEG_ERROR_H
#define JPEG_ERROR_H

#include <setjmp.h>
#include <stdio.h>
#include <stdnoreturn.h>

#include <jpeglib.h>

/**
 * struct jpeg_failure - what to do when libjpeg fails
 * @mgr: libjpeg's part; first, as libjpeg hands back a pointer to it
 * @jump: set by the caller before anything that can fail: an error goes there
 * @why: where an error's message goes
 */
struct jpeg_failure {
	struct jpeg_error_mgr mgr;
	jmp_buf jump;
	char *why;
};

/**
 * jpeg_failure_init - set up error handling
 * @failure: to be used
 * @why: WHY_MAX bytes for a message
 *
 * Return: what belongs in the err field of libjpeg's structure.
 */
struct jpeg_error_mgr *jpeg_failure_init(struct jpeg_failure *failure, char *why);

/**
 * jpeg_no_buffer - fail because a buffer could not be had
 * @cinfo: libjpeg's structure
 *
 * errno says why.  Does not return.
 */
noreturn void jpeg_no_buffer(j_common_ptr cinfo);

#endif /* JPEG_ERROR_H */
