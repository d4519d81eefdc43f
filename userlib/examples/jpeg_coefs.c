// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * libjpeg's coefficient arrays, from an allocator of ours.
 *
 * To decode a progressive file libjpeg keeps the coefficients of the whole image
 * in memory, more bytes than the decoded image has.  It calls for them through
 * function pointers, which are ours to set.  What else it allocates is a few
 * rows, and that is left to it.
 */
#include "jpeg_coefs.h"

#include "jpeg_error.h"

#include <stdint.h>
#include <string.h>

#include <jerror.h>

/* For the aligned loads of libjpeg-turbo's SIMD code. */
#define BLOCK_ALIGN	64

/**
 * struct jvirt_barray_control - libjpeg's name for an array of blocks
 * @next: the next of the same decompressor
 * @rows: the rows' addresses
 * @blocks_per_row: blocks in a row
 * @nr_rows: rows
 * @buf: the buffer that holds the rows, or NULL
 */
struct jvirt_barray_control {
	struct jvirt_barray_control *next;
	JBLOCKROW *rows;
	JDIMENSION blocks_per_row;
	JDIMENSION nr_rows;
	void *buf;
};

static jvirt_barray_ptr request(j_common_ptr cinfo, int pool_id, boolean pre_zero,
				JDIMENSION blocks_per_row, JDIMENSION nr_rows,
				JDIMENSION max_access)
{
	struct jpeg_coefs *coefs = cinfo->client_data;
	struct jvirt_barray_control *array;

	/* Zeroed in any case, and all rows are accessible at any time. */
	(void)pre_zero;
	(void)max_access;

	/* The list has to outlive the image: jpeg_coefs_free() walks it. */
	(void)pool_id;
	array = cinfo->mem->alloc_small(cinfo, JPOOL_PERMANENT, sizeof(*array));
	array->rows = cinfo->mem->alloc_small(cinfo, JPOOL_PERMANENT,
					      nr_rows * sizeof(*array->rows));
	array->blocks_per_row = blocks_per_row;
	array->nr_rows = nr_rows;
	array->buf = NULL;
	array->next = coefs->arrays;
	coefs->arrays = array;
	return array;
}

static void realize(j_common_ptr cinfo)
{
	struct jpeg_coefs *coefs = cinfo->client_data;
	struct jvirt_barray_control *array;
	JDIMENSION y;

	for (array = coefs->arrays; array; array = array->next) {
		const size_t row_bytes = array->blocks_per_row * sizeof(JBLOCK);
		const size_t bytes = row_bytes * array->nr_rows;
		char *block;

		if (array->buf)
			continue;
		array->buf = coefs->a->alloc(coefs->a, bytes + BLOCK_ALIGN);
		if (!array->buf)
			jpeg_no_buffer(cinfo);
		block = (char *)array->buf + BLOCK_ALIGN -
			(uintptr_t)array->buf % BLOCK_ALIGN;
		memset(block, 0, bytes);
		for (y = 0; y < array->nr_rows; y++)
			array->rows[y] = (JBLOCKROW)(block + y * row_bytes);
	}
	coefs->realize(cinfo);
}

static JBLOCKARRAY access_rows(j_common_ptr cinfo, jvirt_barray_ptr array,
			       JDIMENSION first, JDIMENSION count, boolean writable)
{
	(void)writable;
	if (first > array->nr_rows || count > array->nr_rows - first || !array->buf)
		ERREXIT(cinfo, JERR_BAD_VIRTUAL_ACCESS);
	return array->rows + first;
}

void jpeg_coefs_attach(struct jpeg_coefs *coefs, const struct allocator *a,
		       struct jpeg_decompress_struct *cinfo)
{
	coefs->a = a;
	coefs->arrays = NULL;
	coefs->realize = cinfo->mem->realize_virt_arrays;
	cinfo->client_data = coefs;
	cinfo->mem->request_virt_barray = request;
	cinfo->mem->realize_virt_arrays = realize;
	cinfo->mem->access_virt_barray = access_rows;
}

void jpeg_coefs_free(struct jpeg_coefs *coefs)
{
	struct jvirt_barray_control *array;

	for (array = coefs->arrays; array; array = array->next)
		coefs->a->free(coefs->a, array->buf);
	coefs->arrays = NULL;
}
