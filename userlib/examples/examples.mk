# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
#
# The examples of libbufpool, and the demo. thumbnail needs libjpeg.

THUMBNAIL_SOURCES := $(addprefix userlib/examples/,allocator.c jpeg.c \
	jpeg_coefs.c jpeg_error.c process.c scale.c thumbnail.c)
THUMBNAIL_OBJECTS := $(THUMBNAIL_SOURCES:%.c=build/%.o)

TOOLS += build/bin/thumbnail

$(THUMBNAIL_OBJECTS): build/%.o: %.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(CPPFLAGS) -Iuapi -Iuserlib/include $(CFLAGS) $(WARN) -MMD -MP -pthread -c -o $@ $<

build/bin/thumbnail: $(THUMBNAIL_OBJECTS) build/lib/libbufpool.so
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -pthread -Wl,-rpath,'$$ORIGIN/../lib' -o $@ \
		$(THUMBNAIL_OBJECTS) -Lbuild/lib -lbufpool -ljpeg -lm

-include $(THUMBNAIL_OBJECTS:.o=.d)

.PHONY: demo
demo: build/bin/thumbnail
	userlib/examples/demo

# A cache of images in weak buffers.
TOOLS += build/bin/imagecache

build/bin/imagecache: userlib/examples/imagecache.c userlib/include/bufpool.h \
		build/lib/libbufpool.so
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(CPPFLAGS) -Iuapi -Iuserlib/include $(CFLAGS) $(WARN) \
		$(LDFLAGS) -Wl,-rpath,'$$ORIGIN/../lib' -o $@ $< -Lbuild/lib -lbufpool
