/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
#ifndef JPEG_COEFS_H
#define JPEG_COEFS_H

#include "allocator.h"

#include <stdio.h>
#include <jpeglib.h>

/**
 * struct jpeg_coefs - the coefficient arrays of one decompressor
 * @a: where they come from
 * @arrays: those requested
 * @realize: libjpeg's own realize_virt_arrays()
 */
struct jpeg_coefs {
	const struct allocator *a;
	struct jvirt_barray_control *arrays;
	void (*realize)(j_common_ptr cinfo);
};

/**
 * jpeg_coefs_attach - let a decompressor take its coefficient arrays from elsewhere
 * @coefs: to be used until jpeg_coefs_free()
 * @a: from where
 * @cinfo: just created; its client_data is taken
 */
void jpeg_coefs_attach(struct jpeg_coefs *coefs, const struct allocator *a,
		       struct jpeg_decompress_struct *cinfo);

/**
 * jpeg_coefs_free - free the arrays
 * @coefs: attached, or all zero; its decompressor exists still and will not be
 *	used again but to be destroyed
 */
void jpeg_coefs_free(struct jpeg_coefs *coefs);

#endif /* JPEG_COEFS_H */
