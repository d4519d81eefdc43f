// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * JPEG files in memory, to and from images, with libjpeg.
 *
 * libjpeg fails by jumping back to the start.  So that nothing is lost then, all
 * that decode() and encode() work on is in a structure of their callers', who
 * clean up on success and on failure alike.
 */
#include "jpeg.h"

#include "jpeg_coefs.h"
#include "jpeg_error.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

struct decoder {
	struct jpeg_decompress_struct cinfo;
	struct jpeg_failure failure;
	struct jpeg_coefs coefs;
};

static int decode(struct decoder *decoder, const struct allocator *a,
		  const unsigned char *jpeg, size_t bytes, struct image *image)
{
	struct jpeg_decompress_struct *cinfo = &decoder->cinfo;

	if (setjmp(decoder->failure.jump))
		return -1;
	jpeg_create_decompress(cinfo);
	jpeg_coefs_attach(&decoder->coefs, a, cinfo);
	jpeg_mem_src(cinfo, jpeg, bytes);
	jpeg_read_header(cinfo, TRUE);
	cinfo->out_color_space = JCS_RGB;
	jpeg_start_decompress(cinfo);

	image->width = cinfo->output_width;
	image->height = cinfo->output_height;
	if (image_alloc(a, image))
		jpeg_no_buffer((j_common_ptr)cinfo);
	while (cinfo->output_scanline < cinfo->output_height) {
		JSAMPROW row = image->rgb +
			(size_t)cinfo->output_scanline * image->width * 3;

		jpeg_read_scanlines(cinfo, &row, 1);
	}
	jpeg_finish_decompress(cinfo);
	return 0;
}

int jpeg_decode(const struct allocator *a, const unsigned char *jpeg,
		size_t bytes, struct image *image, char *why)
{
	struct decoder decoder = {};
	int ret;

	image->rgb = NULL;
	decoder.cinfo.err = jpeg_failure_init(&decoder.failure, why);
	ret = decode(&decoder, a, jpeg, bytes, image);
	jpeg_coefs_free(&decoder.coefs);
	jpeg_destroy_decompress(&decoder.cinfo);
	if (ret) {
		a->free(a, image->rgb);
		image->rgb = NULL;
	}
	return ret;
}

/**
 * struct destination - a buffer that libjpeg writes to and that grows
 * @mgr: libjpeg's part; first, as libjpeg hands back a pointer to it
 * @a: where the buffer comes from
 * @buf: the buffer
 * @size: its size
 */
struct destination {
	struct jpeg_destination_mgr mgr;
	const struct allocator *a;
	unsigned char *buf;
	size_t size;
};

static void init_destination(j_compress_ptr cinfo)
{
	struct destination *dest = (struct destination *)cinfo->dest;

	/* More is rare: the pixels uncompressed, and the tables. */
	dest->size = (size_t)cinfo->image_width * cinfo->image_height * 3 + 4096;
	dest->buf = dest->a->alloc(dest->a, dest->size);
	if (!dest->buf)
		jpeg_no_buffer((j_common_ptr)cinfo);
	dest->mgr.next_output_byte = dest->buf;
	dest->mgr.free_in_buffer = dest->size;
}

/* Called when all of the buffer is full, whatever free_in_buffer says. */
static boolean empty_output_buffer(j_compress_ptr cinfo)
{
	struct destination *dest = (struct destination *)cinfo->dest;
	unsigned char *buf = dest->a->alloc(dest->a, dest->size * 2);

	if (!buf)
		jpeg_no_buffer((j_common_ptr)cinfo);
	memcpy(buf, dest->buf, dest->size);
	dest->a->free(dest->a, dest->buf);
	dest->buf = buf;
	dest->mgr.next_output_byte = buf + dest->size;
	dest->mgr.free_in_buffer = dest->size;
	dest->size *= 2;
	return TRUE;
}

static void term_destination(j_compress_ptr cinfo)
{
	(void)cinfo;
}

struct encoder {
	struct jpeg_compress_struct cinfo;
	struct jpeg_failure failure;
	struct destination dest;
};

static int encode(struct encoder *encoder, const struct image *image, int quality)
{
	struct jpeg_compress_struct *cinfo = &encoder->cinfo;

	if (setjmp(encoder->failure.jump))
		return -1;
	jpeg_create_compress(cinfo);
	cinfo->dest = &encoder->dest.mgr;
	cinfo->image_width = image->width;
	cinfo->image_height = image->height;
	cinfo->input_components = 3;
	cinfo->in_color_space = JCS_RGB;
	jpeg_set_defaults(cinfo);
	jpeg_set_quality(cinfo, quality, TRUE);
	jpeg_start_compress(cinfo, TRUE);
	while (cinfo->next_scanline < cinfo->image_height) {
		JSAMPROW row = image->rgb +
			(size_t)cinfo->next_scanline * image->width * 3;

		jpeg_write_scanlines(cinfo, &row, 1);
	}
	jpeg_finish_compress(cinfo);
	return 0;
}

int jpeg_encode(const struct allocator *a, const struct image *image,
		int quality, unsigned char **jpeg, size_t *bytes, char *why)
{
	struct encoder encoder = {
		.dest = {
			.mgr = {
				.init_destination = init_destination,
				.empty_output_buffer = empty_output_buffer,
				.term_destination = term_destination,
			},
			.a = a,
		},
	};
	int ret;

	encoder.cinfo.err = jpeg_failure_init(&encoder.failure, why);
	ret = encode(&encoder, image, quality);
	jpeg_destroy_compress(&encoder.cinfo);
	if (ret) {
		a->free(a, encoder.dest.buf);
		return ret;
	}
	*jpeg = encoder.dest.buf;
	*bytes = encoder.dest.size - encoder.dest.mgr.free_in_buffer;
	return 0;
}
