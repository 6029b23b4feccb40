#!/bin/sh
# A bounded fuzz run on the stable toolchain: tests/fuzz/smoke.sh [SECONDS [SEED]]; 20 seconds unless told.
# Memory is limited, so that an allocation that foreign input asks for ends the run.
set -eu
cd "$(dirname "$0")"
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target}
export CARGO_TARGET_DIR
cargo build --quiet --locked --bin smoke
ulimit -v 2097152
exec "$CARGO_TARGET_DIR/debug/smoke" "${1:-20}" "${2:-1}"
