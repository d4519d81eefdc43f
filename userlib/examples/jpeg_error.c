// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * libjpeg's errors and warnings: a message for the caller, and a jump back.
 */
#include "jpeg_error.h"

#include "jpeg.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(WHY_MAX >= JMSG_LENGTH_MAX, "libjpeg's messages have to fit");

/* Beyond libjpeg's own message numbers. */
#define MESSAGE_NO_BUFFER	1000

static const char *const messages[] = { "no buffer: %s" };

static noreturn void error_exit(j_common_ptr cinfo)
{
	struct jpeg_failure *failure = (struct jpeg_failure *)cinfo->err;

	failure->mgr.format_message(cinfo, failure->why);
	longjmp(failure->jump, 1);
}

static void emit_message(j_common_ptr cinfo, int level)
{
	/* -1 is a warning; the rest is for debugging. */
	if (level < 0)
		error_exit(cinfo);
}

struct jpeg_error_mgr *jpeg_failure_init(struct jpeg_failure *failure, char *why)
{
	struct jpeg_error_mgr *mgr = jpeg_std_error(&failure->mgr);

	mgr->error_exit = error_exit;
	mgr->emit_message = emit_message;
	mgr->addon_message_table = messages;
	mgr->first_addon_message = MESSAGE_NO_BUFFER;
	mgr->last_addon_message = MESSAGE_NO_BUFFER;
	failure->why = why;
	return mgr;
}

noreturn void jpeg_no_buffer(j_common_ptr cinfo)
{
	struct jpeg_error_mgr *mgr = cinfo->err;

	mgr->msg_code = MESSAGE_NO_BUFFER;
	snprintf(mgr->msg_parm.s, sizeof(mgr->msg_parm.s), "%s", strerror(errno));
	error_exit(cinfo);
}
