# The ways to build, try and test pve-ferry. `make` alone says what there is.

.PHONY: help build demo test check unit fakes fuzz perl lab bench deb package

help:
	@echo 'make build   the program, target/release/pve-ferry'
	@echo 'make demo    shows it at work on a real one-machine Ceph cluster; needs root and a Debian 12 with Rust'
	@echo 'make test    everything: format, lints, unit and CLI tests, fuzz smoke, Perl, the lab on real Ceph; needs root'
	@echo 'make bench   the whole job beside barc'\''s pipelines and plain ones; needs root and about 20 GiB'
	@echo 'make deb     the Debian package, target/deb/*.deb; needs debhelper'
	@echo 'make lab     only the lab; tests/lab/run NAME runs one case'

build:
	cargo build --release --locked

demo:
	tests/lab/demo

# The lab comes last: its closing line sums up what was checked. It tries the very program that is in the package.
test: check unit fakes fuzz perl package
	PVE_FERRY_BIN=$(DEB)-build/release/pve-ferry $(MAKE) lab

check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

unit:
	cargo test --locked

fakes:
	tests/fakes/test_fakes.sh

# Longer than the five seconds that `unit` gives it.
fuzz:
	cargo test --locked --test fuzz -- 20

perl:
	prove -r tests/perl

# Builds the package, installs it in a clean Debian, lets its cron run a job, and boots a systemd for its units.
package:
	tests/deb/run
	tests/deb/systemd

lab:
	tests/lab/bench --small
	tests/lab/run --labs 2

bench:
	tests/lab/bench

# The package, target/deb/*.deb, out of a copy of the tree, because dpkg-buildpackage writes beside it. Where cargo is not
# Debian's own (rustup on Debian 12), the build dependencies on it are not asked for.
DEB = $(CURDIR)/target/deb
deb:
	rm -rf $(DEB) && mkdir -p $(DEB)/source
	cp -a Cargo.toml Cargo.lock LICENSE Makefile README.md src perl debian hooks systemd benches $(DEB)/source/
	mkdir $(DEB)/source/tests && cp -a tests/*.rs tests/*/ $(DEB)/source/tests/
	cd $(DEB)/source && CARGO_TARGET_DIR=$(DEB)-build dpkg-buildpackage -b -us -uc \
	    $(if $(shell dpkg-query -Wf '$${Status}' cargo 2>/dev/null | grep 'ok installed'),,-d)
	rm -rf $(DEB)/source
	@ls -l $(DEB)/*.deb
