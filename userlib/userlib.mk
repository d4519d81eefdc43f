# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
#
# The library, its tests, its installation.

USERLIB_VERSION	:= 0.1.0
USERLIB_SONAME	:= libbufpool.so.0
USERLIB_SHARED	:= build/lib/libbufpool.so.$(USERLIB_VERSION)
USERLIB_STATIC	:= build/lib/libbufpool.a

USERLIB_SRCS	:= $(addprefix userlib/src/,abort.c alloc.c anonymous.c \
		   anonymous_alloc.c attach.c config.c front.c leaks.c live.c pool.c \
		   preset.c reclaim.c scope.c span.c weak.c zero.c)
USERLIB_OBJS	:= $(USERLIB_SRCS:userlib/src/%.c=build/lib/obj/%.o)
USERLIB_FLAGS	:= -Iuserlib/include -Iuapi
USERLIB_CFLAGS	:= -std=c11 -D_GNU_SOURCE $(USERLIB_FLAGS)

LIBS	+= $(USERLIB_STATIC) $(USERLIB_SHARED) build/lib/$(USERLIB_SONAME) \
	   build/lib/libbufpool.so build/lib/libbufpool.pc

build/lib/obj/%.o: userlib/src/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) $(USERLIB_CFLAGS) -fPIC \
		-fvisibility=hidden -MMD -MP -c $< -o $@

$(USERLIB_STATIC): $(USERLIB_OBJS)
	rm -f $@
	$(AR) rcs $@ $^

$(USERLIB_SHARED): $(USERLIB_OBJS) userlib/libbufpool.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(USERLIB_SONAME) \
		-Wl,--version-script=userlib/libbufpool.map -Wl,-z,defs \
		-Wl,-z,relro,-z,now $(USERLIB_OBJS) -pthread -o $@

build/lib/$(USERLIB_SONAME): $(USERLIB_SHARED)
	ln -sf $(<F) $@

build/lib/libbufpool.so: build/lib/$(USERLIB_SONAME)
	ln -sf $(<F) $@

LIBDIR	?= $(PREFIX)/lib
MANDIR	?= $(PREFIX)/share/man

# Written anew each time: PREFIX may be another one.
.PHONY: FORCE
build/lib/libbufpool.pc: userlib/libbufpool.pc.in FORCE
	@mkdir -p $(@D)
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
		-e 's|@VERSION@|$(USERLIB_VERSION)|' $< > $@

-include $(USERLIB_OBJS:.o=.d)

# Installation

.PHONY: install install-userlib uninstall uninstall-userlib
install: install-userlib
uninstall: uninstall-userlib

USERLIB_MAN3 := $(wildcard userlib/man/*.3)
# Pages that describe several functions: the others' names lead there.
USERLIB_MAN3_LINKS := bufpool_create.3=bufpool_destroy.3 \
		      bufpool_alloc.3=bufpool_free.3 \
		      bufpool_alloc.3=bufpool_usable_size.3 \
		      bufpool_get_config.3=bufpool_set_config.3 \
		      bufpool_scope.3=BUFPOOL_SCOPE.3 \
		      bufpool_scope.3=bufpool_scope_add.3 \
		      bufpool_scope.3=bufpool_scope_alloc.3 \
		      bufpool_scope.3=bufpool_scope_begin.3 \
		      bufpool_scope.3=bufpool_scope_end.3 \
		      bufpool_scope.3=bufpool_scope_remove.3 \
		      bufpool_weaken.3=bufpool_strengthen.3

install-userlib: $(LIBS)
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig \
		$(DESTDIR)$(PREFIX)/include/linux $(DESTDIR)$(MANDIR)/man3
	install -m 644 $(USERLIB_STATIC) $(DESTDIR)$(LIBDIR)
	install -m 755 $(USERLIB_SHARED) $(DESTDIR)$(LIBDIR)
	ln -sf $(notdir $(USERLIB_SHARED)) $(DESTDIR)$(LIBDIR)/$(USERLIB_SONAME)
	ln -sf $(USERLIB_SONAME) $(DESTDIR)$(LIBDIR)/libbufpool.so
	install -m 644 build/lib/libbufpool.pc $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 userlib/include/bufpool.h $(DESTDIR)$(PREFIX)/include
	install -m 644 uapi/linux/bufpool.h $(DESTDIR)$(PREFIX)/include/linux
	install -m 644 $(USERLIB_MAN3) $(DESTDIR)$(MANDIR)/man3
	for link in $(USERLIB_MAN3_LINKS); do \
		ln -sf "$${link%=*}" "$(DESTDIR)$(MANDIR)/man3/$${link#*=}" || \
			exit 1; \
	done

uninstall-userlib:
	rm -f $(DESTDIR)$(LIBDIR)/$(notdir $(USERLIB_STATIC)) \
		$(DESTDIR)$(LIBDIR)/$(notdir $(USERLIB_SHARED)) \
		$(DESTDIR)$(LIBDIR)/$(USERLIB_SONAME) \
		$(DESTDIR)$(LIBDIR)/libbufpool.so \
		$(DESTDIR)$(LIBDIR)/pkgconfig/libbufpool.pc \
		$(DESTDIR)$(PREFIX)/include/bufpool.h \
		$(DESTDIR)$(PREFIX)/include/linux/bufpool.h \
		$(addprefix $(DESTDIR)$(MANDIR)/man3/,$(notdir $(USERLIB_MAN3)) \
		$(foreach link,$(USERLIB_MAN3_LINKS),$(lastword \
		$(subst =, ,$(link)))))

# Tests.  Those of the pool run on the anonymous backend, see tests/memory.h, and
# are built a second and a third time with the sanitizers.

USERLIB_POOL_TESTS := anonymous footprint fork interrupt leaks limits misuse \
		      reuse scope signal stack storm weak
USERLIB_TESTS	:= $(addprefix build/tests/userlib-,class preset exports cxx \
		   example $(USERLIB_POOL_TESTS))
# The sanitizers' own code is not to be single-stepped, nor counted as ours.
USERLIB_SANITIZED := $(filter-out footprint interrupt,$(USERLIB_POOL_TESTS))
USERLIB_TSAN	:= $(addprefix build/tests/userlib-tsan-,$(USERLIB_SANITIZED))
USERLIB_ASAN	:= $(addprefix build/tests/userlib-asan-,$(USERLIB_SANITIZED))

NATIVE_TESTS	+= $(USERLIB_TESTS) $(USERLIB_TSAN) $(USERLIB_ASAN)

USERLIB_TEST_CC	:= $(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) $(USERLIB_CFLAGS) \
		   -Iuserlib/src -pthread -MMD -MP
USERLIB_TEST_SRCS := userlib/tests/memory.c $(USERLIB_SRCS)

build/tests/userlib-%: userlib/tests/%.c userlib/tests/memory.c \
		$(USERLIB_STATIC)
	@mkdir -p $(@D)
	$(USERLIB_TEST_CC) -MF $@.d $< userlib/tests/memory.c \
		$(USERLIB_STATIC) -o $@

build/tests/userlib-tsan-%: userlib/tests/%.c $(USERLIB_TEST_SRCS)
	@mkdir -p $(@D)
	$(USERLIB_TEST_CC) -MF $@.d -fsanitize=thread -fPIE -pie \
		$< $(USERLIB_TEST_SRCS) -o $@

build/tests/userlib-asan-%: userlib/tests/%.c $(USERLIB_TEST_SRCS)
	@mkdir -p $(@D)
	$(USERLIB_TEST_CC) -MF $@.d -fsanitize=address,undefined \
		-fno-sanitize-recover=all $< $(USERLIB_TEST_SRCS) -o $@

# With the shared library, found beside the tests.
USERLIB_RPATH	:= -Lbuild/lib -lbufpool '-Wl,-rpath,$$ORIGIN/../lib'

build/tests/userlib-exports: userlib/tests/exports.c \
		build/lib/libbufpool.so
	@mkdir -p $(@D)
	$(USERLIB_TEST_CC) -MF $@.d $< '-Wl,-rpath,$$ORIGIN/../lib' -ldl -o $@

CXX	?= g++
build/tests/userlib-cxx: userlib/tests/cxx.cc build/lib/libbufpool.so
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -std=c++11 -Wall -Wextra -Wpedantic \
		-Werror $(USERLIB_FLAGS) -MMD -MP -MF $@.d $< \
		$(USERLIB_RPATH) -o $@

# The program between .EX and .EE under EXAMPLES.
build/tests/userlib-example.program.c: userlib/man/bufpool.3
	@mkdir -p $(@D)
	sed -n '/^\.SH EXAMPLES/,/^\.EE/p' $< | \
		sed -e '1,/^\.EX/d' -e '/^\.EE/d' -e 's/\\e/\\/g' -e 's/\\-/-/g' \
		-e 's/\\&//g' -e "s/\\\\(aq/'/g" > $@

build/tests/userlib-example.program: build/tests/userlib-example.program.c \
		build/lib/libbufpool.so
	$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) $(USERLIB_CFLAGS) $< \
		$(USERLIB_RPATH) -o $@

build/tests/userlib-example: userlib/tests/example.c \
		build/tests/userlib-example.program
	@mkdir -p $(@D)
	$(USERLIB_TEST_CC) -MF $@.d $< -o $@

-include $(wildcard build/tests/userlib-*.d)
