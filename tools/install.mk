# make install PREFIX=/usr/local DESTDIR=, make uninstall. PREFIX is where the files will be used, DESTDIR where the tree is
# staged. Builds what is missing, installs nothing by itself (packages: tools/setup.sh).
BINDIR     ?= $(PREFIX)/bin
INCLUDEDIR := $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man
VERSION    := $(shell sed -n 's/^.define SEEP_VERSION "\(.*\)"/\1/p' agent/contract/contract.h)

INSTALLED := $(BINDIR)/seep $(LIBDIR)/libseep.so $(LIBDIR)/pkgconfig/seep.pc $(MANDIR)/man1/seep.1 \
             $(PREFIX)/share/bash-completion/completions/seep $(PREFIX)/share/zsh/site-functions/_seep \
             $(PREFIX)/share/fish/vendor_completions.d/seep.fish $(PREFIX)/share/seep/seep-gdb.py $(addprefix $(INCLUDEDIR)/,seep.h seep_stats.h seep_task.h coro.h coro_arch.h)

.PHONY: install uninstall demo setup-demo
install: agent analyzer
	install -d $(addprefix '$(DESTDIR)',$(sort $(dir $(INSTALLED))))
	install -m 755 $(BUILD)/seep '$(DESTDIR)$(BINDIR)/seep'
	install -m 755 $(BUILD)/libseep.so '$(DESTDIR)$(LIBDIR)/libseep.so'
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' tools/seep.pc.in \
	    > '$(DESTDIR)$(LIBDIR)/pkgconfig/seep.pc'
	install -m 644 docs/man/seep.1 '$(DESTDIR)$(MANDIR)/man1/seep.1'
	$(BUILD)/seep completion bash > '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/seep'
	$(BUILD)/seep completion zsh > '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_seep'
	$(BUILD)/seep completion fish > '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/seep.fish'
	install -m 644 tools/seep-gdb.py '$(DESTDIR)$(PREFIX)/share/seep/seep-gdb.py'
	install -m 644 agent/include/seep.h coro/include/coro.h coro/include/coro_arch.h '$(DESTDIR)$(INCLUDEDIR)'
	sh tools/inline_header.sh agent/include/seep_stats.h > '$(DESTDIR)$(INCLUDEDIR)/seep_stats.h'
	sh tools/inline_header.sh agent/contract/task.h > '$(DESTDIR)$(INCLUDEDIR)/seep_task.h'
	chmod 644 '$(DESTDIR)$(LIBDIR)/pkgconfig/seep.pc' '$(DESTDIR)$(INCLUDEDIR)/'seep_*.h \
	    '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/seep' '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_seep' \
	    '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/seep.fish'
uninstall:
	rm -f $(foreach f,$(INSTALLED),'$(DESTDIR)$(f)')

# The demo, see tools/demo.sh.
setup-demo:
	@tools/setup.sh demo
demo: setup-demo
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) tools/demo.sh
