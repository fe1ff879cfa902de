# SPDX-License-Identifier: GPL-2.0-only
# make install [DESTDIR=/tmp/root] [PREFIX=/usr]    make uninstall, with the same two
# What other rooms put into packaging/ is installed from there by its kind.

PREFIX ?= /usr/local
DESTDIR ?=
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' scx_gamer/__init__.py)
D := $(DESTDIR)$(PREFIX)
APP := $(D)/lib/scx-gamer
SHARE := $(D)/share
# The unit and the bus name the program with this path; another prefix is put in its place.
IN_PLACE = sed 's|/usr/bin/scx-gamer|$(PREFIX)/bin/scx-gamer|g'
INSTALL_DATA := install -m 644

GENERATOR_PYTHON := $(if $(wildcard $(PY)),$(PY),python3)
GENERATED := $(BUILD)/generated/scx-gamer.1
SHIPPED_OBJECTS := $(patsubst bpf/%.c,$(BUILD)/bpf/%.o,$(filter-out bpf/baseline.bpf.c,$(BPF_SOURCES)))

.PHONY: generated install uninstall deb rpm source-archive

generated: $(GENERATED)

$(GENERATED): packaging/generate.py profiles/config.toml bpf/include/abi.h $(wildcard scx_gamer/cli/*.py) scx_gamer/__init__.py
	@mkdir -p $(@D)
	PYTHONPATH=. $(GENERATOR_PYTHON) packaging/generate.py $(@D)

install: $(SHIPPED_OBJECTS) workload $(GENERATED)
	install -d $(APP) $(D)/bin
	find scx_gamer -type f ! -path '*/__pycache__/*' ! -path 'scx_gamer/bench/*.[ch]' ! -name '*.mk' \
		-exec install -D -m 644 {} $(APP)/{} \;
	install -D -m 644 -t $(APP)/scx_gamer/bpf $(SHIPPED_OBJECTS)
	install -D -m 755 -t $(APP)/scx_gamer/bin $(BUILD)/bin/workload
	install -m 755 packaging/scx-gamer $(D)/bin/scx-gamer
	cd profiles && find . -type f -exec install -D -m 644 {} $(SHARE)/scx-gamer/{} \;
	install -D -m 644 -t $(SHARE)/man/man1 $(BUILD)/generated/scx-gamer.1
	install -D -m 644 -t $(SHARE)/man/man5 $(BUILD)/generated/scx-gamer-config.5
	install -D -m 644 $(BUILD)/generated/scx-gamer.bash $(SHARE)/bash-completion/completions/scx-gamer
	install -D -m 644 $(BUILD)/generated/scx-gamer.zsh $(SHARE)/zsh/site-functions/_scx-gamer
	install -D -m 644 $(BUILD)/generated/scx-gamer.fish $(SHARE)/fish/vendor_completions.d/scx-gamer.fish
	install -D -m 644 -t $(SHARE)/metainfo packaging/metainfo/org.scxgamer.Supervisor.metainfo.xml
	install -D -m 644 -t $(SHARE)/doc/scx-gamer README.md $(wildcard docs/*.md)
	$(call parts,systemd,*.service *.socket *.timer *.path,$(D)/lib/systemd/system)
	$(call parts,systemd/system,*.service *.socket *.timer *.path,$(D)/lib/systemd/system)
	$(call parts,systemd/user,*.service *.socket *.timer *.path,$(D)/lib/systemd/user)
	$(call parts,systemd/drop-ins,*.conf,$(SHARE)/scx-gamer/systemd)
	$(call parts,sysusers,*.conf,$(D)/lib/sysusers.d)
	$(call parts,tmpfiles,*.conf,$(D)/lib/tmpfiles.d)
	$(call parts,dbus,*.service,$(SHARE)/dbus-1/system-services)
	$(call parts,dbus,*.conf,$(SHARE)/dbus-1/system.d)
	$(call parts,dbus,*.xml,$(SHARE)/dbus-1/interfaces)
	$(call parts,polkit,*.policy,$(SHARE)/polkit-1/actions)
	$(call parts,polkit,*.rules,$(SHARE)/polkit-1/rules.d)
	$(call parts,prometheus,*,$(SHARE)/scx-gamer/prometheus)
	$(call parts,grafana,*.json,$(SHARE)/scx-gamer/grafana)

# $(call parts,FOLDER,PATTERNS,TARGET): what packaging/FOLDER has of them. The agent's unit is the user's.
define parts
@set -f; for pattern in $(2); do set +f; for file in packaging/$(1)/$$pattern; do \
	[ -f "$$file" ] || continue; target='$(3)'; \
	case "$(1)/$$file" in systemd/*-agent.service) target='$(D)/lib/systemd/user' ;; esac; \
	install -d "$$target"; $(IN_PLACE) "$$file" >"$$target/$${file##*/}"; chmod 644 "$$target/$${file##*/}"; \
	done; done
endef

# What an installation into an empty folder has, taken away where it was installed; folders only if they are empty.
uninstall:
	@rm -rf $(BUILD)/manifest && $(MAKE) --no-print-directory -s install DESTDIR=$(CURDIR)/$(BUILD)/manifest PREFIX=$(PREFIX)
	@cd $(BUILD)/manifest && find . -depth ! -type d | while read -r file; do rm -f "$(DESTDIR)/$$file"; done
	@if [ -d "$(APP)" ]; then find "$(APP)" -depth -name __pycache__ -exec rm -rf {} +; fi
	@cd $(BUILD)/manifest && find . -mindepth 1 -depth -type d | while read -r folder; do \
		case "$$folder" in *scx-gamer* | *scx_gamer*) rmdir --ignore-fail-on-non-empty "$(DESTDIR)/$$folder" 2>/dev/null || true ;; esac; done
	@rm -rf $(BUILD)/manifest

SOURCE := $(BUILD)/package/scx-gamer-$(VERSION)

# The tree as a release archive has it.
source-archive:
	@rm -rf $(SOURCE) && mkdir -p $(SOURCE)
	@tar -c --exclude-vcs --exclude=./build --exclude=./dist --exclude='.*_cache' --exclude=__pycache__ \
		--exclude=./.hypothesis . | tar -x -C $(SOURCE)
	@tar -czf $(BUILD)/package/scx-gamer-$(VERSION).tar.gz --owner=0 --group=0 -C $(BUILD)/package scx-gamer-$(VERSION)

# On a Debian that lacks a build dependency, the checkout's own tools in build/ take its place.
deb: source-archive
	@cp -r packaging/debian $(SOURCE)/debian
	@if [ -x $(PY) ]; then mkdir -p $(SOURCE)/build && ln -sf $(CURDIR)/$(VENV) $(SOURCE)/build/venv && \
		{ [ ! -d $(BUILD)/sysroot ] || ln -sf $(CURDIR)/$(BUILD)/sysroot $(SOURCE)/build/sysroot; }; fi
	@cd $(SOURCE) && { dpkg-checkbuilddeps 2>/dev/null && dpkg-buildpackage -us -uc -b || dpkg-buildpackage -d -us -uc -b; } \
		>../deb.log 2>&1 || { tail -30 ../deb.log; exit 1; }
	@ls $(BUILD)/package/*.deb

rpm: source-archive
	@mkdir -p $(BUILD)/package/rpm
	@if [ -x $(PY) ]; then mkdir -p $(SOURCE)/build && ln -sf $(CURDIR)/$(VENV) $(SOURCE)/build/venv && \
		{ [ ! -d $(BUILD)/sysroot ] || ln -sf $(CURDIR)/$(BUILD)/sysroot $(SOURCE)/build/sysroot; } && \
		tar -czf $(BUILD)/package/scx-gamer-$(VERSION).tar.gz --owner=0 --group=0 -C $(BUILD)/package scx-gamer-$(VERSION); fi
	@rpmbuild -bb $(RPMFLAGS) --define '_topdir $(CURDIR)/$(BUILD)/package/rpm' --define '_sourcedir $(CURDIR)/$(BUILD)/package' \
		packaging/rpm/scx-gamer.spec >$(BUILD)/package/rpm.log 2>&1 || { tail -30 $(BUILD)/package/rpm.log; exit 1; }
	@find $(BUILD)/package/rpm/RPMS -name '*.rpm'
