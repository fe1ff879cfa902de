# SPDX-License-Identifier: GPL-2.0-or-later
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
# Compiled here, because root would write __pycache__ below /usr/lib at the first start; BYTECODE=no where the package
# manager compiles. The hash of a source decides whether its bytecode is current: times differ from build to build.
BYTECODE ?= yes
INSTALLED_PYTHON ?= /usr/bin/python3

GENERATOR_PYTHON := $(if $(wildcard $(PY)),$(PY),python3)
GENERATED := $(BUILD)/generated/scx-gamer.1
SHIPPED_OBJECTS := $(patsubst bpf/%.c,$(BUILD)/bpf/%.o,$(filter-out bpf/baseline.bpf.c,$(BPF_SOURCES)))

.PHONY: generated install uninstall deb rpm sysext source-archive release

generated: $(GENERATED)

$(GENERATED): packaging/generate.py profiles/config.toml bpf/include/abi.h $(wildcard scx_gamer/cli/*.py) scx_gamer/__init__.py
	@mkdir -p $(@D)
	PYTHONPATH=. $(GENERATOR_PYTHON) packaging/generate.py $(@D)

install: $(SHIPPED_OBJECTS) workload $(GENERATED)
	install -d $(APP) $(D)/bin
	find scx_gamer -type f ! -path '*/__pycache__/*' ! -path 'scx_gamer/bench/*.[ch]' ! -name '*.mk' \
		-exec install -D -m 644 {} $(APP)/{} \;
	$(if $(filter yes,$(BYTECODE)),$(INSTALLED_PYTHON) -m compileall -q --invalidation-mode checked-hash \
		-s "$(DESTDIR)" -p / $(APP)/scx_gamer)
	install -D -m 644 -t $(APP)/scx_gamer/bpf $(SHIPPED_OBJECTS)
	install -D -m 755 -t $(APP)/scx_gamer/bin $(BUILD)/bin/workload
	install -m 755 packaging/scx-gamer $(D)/bin/scx-gamer
	cd profiles && find . -type f -exec install -D -m 644 {} $(SHARE)/scx-gamer/{} \;
	install -D -m 644 -t $(SHARE)/man/man1 $(BUILD)/generated/scx-gamer.1
	install -D -m 644 -t $(SHARE)/man/man5 $(BUILD)/generated/scx-gamer-config.5
	install -D -m 644 $(BUILD)/generated/scx-gamer.bash $(SHARE)/bash-completion/completions/scx-gamer
	install -D -m 644 $(BUILD)/generated/scx-gamer.zsh $(SHARE)/zsh/site-functions/_scx-gamer
	install -D -m 644 $(BUILD)/generated/scx-gamer.fish $(SHARE)/fish/vendor_completions.d/scx-gamer.fish
	install -D -m 644 -t $(SHARE)/metainfo packaging/metainfo/io.github.scx_gamer.Supervisor.metainfo.xml
	install -D -m 644 -t $(SHARE)/gnome-shell/extensions/focus@scx_gamer.github.io packaging/gnome-shell/metadata.json packaging/gnome-shell/extension.js
	install -D -m 644 -t $(SHARE)/doc/scx-gamer README.md $(wildcard docs/*.md)
	$(call parts,systemd,*.service *.socket *.timer *.path,$(D)/lib/systemd/system)
	$(call parts,systemd/system,*.service *.socket *.timer *.path,$(D)/lib/systemd/system)
	$(call parts,systemd/user,*.service *.socket *.timer *.path,$(D)/lib/systemd/user)
	$(call parts,systemd/drop-ins,*.conf,$(SHARE)/scx-gamer/systemd)
	$(call parts,sysusers,*.conf,$(D)/lib/sysusers.d)
	$(call parts,tmpfiles,*.conf,$(D)/lib/tmpfiles.d)
	$(call parts,dbus,*.service,$(SHARE)/dbus-1/system-services)
	$(call parts,dbus,*.conf,$(SHARE)/dbus-1/system.d)
	install -D -m 644 scx_gamer/dbus/introspection.xml $(SHARE)/dbus-1/interfaces/io.github.scx_gamer.Supervisor1.xml
	$(call parts,polkit,*.policy,$(SHARE)/polkit-1/actions)
	$(call parts,polkit,*.rules,$(SHARE)/polkit-1/rules.d)
	$(call parts,polkit/opt-in,*.rules,$(SHARE)/scx-gamer/polkit)
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

# Where packages are built, and their time: that of the last commit, else of the changelog. With equal tools the same
# commit gives the same bytes, in any folder.
PACKAGE ?= $(CURDIR)/$(BUILD)/package
NAME := scx-gamer-$(VERSION)
SOURCE := $(PACKAGE)/$(NAME)
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s -d "$$(sed -n 's/^ --.*>  //p' packaging/debian/changelog | head -1)")
TAR := tar --create --mtime=@$(SOURCE_DATE_EPOCH) --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX
# Not of the tree, where no git says so.
NOT_OURS := .git build dist __pycache__ .hypothesis .mypy_cache .pytest_cache .ruff_cache
FIND := find . -type d \( $(patsubst %,-name % -o,$(NOT_OURS)) -false \) -prune -o ! -type d -printf '%P\n'

# The files of the tree as they are now, as a release archive has them.
source-archive:
	@rm -rf $(SOURCE) && mkdir -p $(PACKAGE)
	@if git rev-parse --git-dir >/dev/null 2>&1; then git ls-files --cached --others --exclude-standard; else $(FIND); fi | while read -r file; do [ ! -e "$$file" ] || echo "$$file"; done | LC_ALL=C sort | \
		$(TAR) --transform 'flags=r;s|^|$(NAME)/|' --files-from=- | gzip -9n >$(SOURCE).tar.gz
	@tar -xzf $(SOURCE).tar.gz -C $(PACKAGE)

# A release: the archive of the tag, its sums, and the files that name them. Of a clean tree at the tag alone.
release:
	@git diff --quiet HEAD && [ "$$(git describe --exact-match 2>/dev/null)" = v$(VERSION) ] || \
		{ echo "release: commit everything and tag it v$(VERSION) first" >&2; exit 1; }
	@mkdir -p dist
	@git archive --format=tar --prefix=$(NAME)/ v$(VERSION) | gzip -9n >dist/$(NAME).tar.gz
	@sum=$$(sha256sum dist/$(NAME).tar.gz | cut -d' ' -f1) && \
		sed "s/^sha256sums=.*/sha256sums=($$sum)/" packaging/arch/PKGBUILD >dist/PKGBUILD
	@cd dist && sha256sum $(NAME).tar.gz PKGBUILD >SHA256SUMS && cat SHA256SUMS

# The checkout's own tools in build/ take the place of a build dependency that this machine lacks.
define own_tools
@if [ -x $(PY) ]; then mkdir -p $(SOURCE)/build && ln -sfn $(CURDIR)/$(VENV) $(SOURCE)/build/venv && \
	{ [ ! -d $(BUILD)/sysroot ] || ln -sfn $(CURDIR)/$(BUILD)/sysroot $(SOURCE)/build/sysroot; }; fi
endef

# Another architecture's: make deb DEB_ARCH=arm64, with that one's gcc and libc6-dev.
CROSS := $(if $(DEB_ARCH),-a$(DEB_ARCH))
deb: source-archive
	@cp -r packaging/debian $(SOURCE)/debian
	$(own_tools)
	@cd $(SOURCE) && { dpkg-checkbuilddeps $(CROSS) 2>/dev/null && dpkg-buildpackage $(CROSS) -us -uc -b || \
		dpkg-buildpackage $(CROSS) -d -us -uc -b; } \
		>../deb.log 2>&1 || { tail -30 ../deb.log; exit 1; }
	@ls $(PACKAGE)/*.deb

rpm: source-archive
	$(own_tools)
	@if [ -x $(PY) ]; then tar -czf $(SOURCE).tar.gz --owner=0 --group=0 -C $(PACKAGE) $(NAME); fi
	@rpmbuild -bb $(RPMFLAGS) --define '_topdir $(PACKAGE)/rpm' --define '_sourcedir $(PACKAGE)' \
		packaging/rpm/scx-gamer.spec >$(PACKAGE)/rpm.log 2>&1 || { tail -30 $(PACKAGE)/rpm.log; exit 1; }
	@find $(PACKAGE)/rpm/RPMS -name '*.rpm'

sysext: $(SHIPPED_OBJECTS) workload $(GENERATED)
	@packaging/sysext/build $(PACKAGE)
