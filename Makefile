# The ways to build, try and test pve-ferry. `make` alone says what there is.

.PHONY: help build demo test check unit fakes fuzz perl lab bench deb

help:
	@echo 'make build   the program, target/release/pve-ferry'
	@echo 'make demo    shows it at work on a real one-machine Ceph cluster; needs root and a Debian 12 with Rust'
	@echo 'make test    everything: format, lints, unit and CLI tests, fuzz smoke, Perl, the lab on real Ceph; needs root'
	@echo 'make bench   the whole job beside barc'\''s pipelines and plain ones; needs root and about 20 GiB'
	@echo 'make lab     only the lab; tests/lab/run NAME runs one case'

build:
	cargo build --release --locked

demo:
	tests/lab/demo

# The lab comes last: its closing line sums up what was checked.
test: check unit fakes fuzz perl lab

check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

unit:
	cargo test --locked

fakes:
	tests/fakes/test_fakes.sh

fuzz:
	@if [ -x tests/fuzz/smoke.sh ]; then tests/fuzz/smoke.sh; else echo 'fuzz: tests/fuzz/smoke.sh is not in this tree'; fi

perl:
	@if [ -d tests/perl ]; then prove -r tests/perl; else echo 'perl: tests/perl is not in this tree'; fi

lab:
	tests/lab/bench --small
	tests/lab/run

bench:
	tests/lab/bench

deb:
	@echo 'make deb: the Debian package comes with issue 3/8; there is nothing to build yet' >&2
	@exit 1
