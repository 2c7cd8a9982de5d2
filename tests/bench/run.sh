#!/usr/bin/env bash
# Builds everything as it ships, then measures; Markdown tables on standard output.
#
#   tests/bench/run.sh            publish to running, beside docker and podman, and memory: about ten minutes
#   tests/bench/run.sh --quick    a few runs of each, to see that it works
#   tests/bench/run.sh pull --images DIR [--quick]
#                                 registry to mounted root file system, beside docker, podman, containerd and skopeo with
#                                 umoci; tests/bench/images.sh makes the images. Six images five times: about half an hour
#
# Run it as root, on a machine that does nothing else. `tests/setup.sh bench` installs what it is compared with.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export PATH=$PATH:$HOME/.cargo/bin
TARGET=$(uname -m)-unknown-linux-musl
cargo build -q --locked --release --target "$TARGET" --bins \
    -p coordinator -p coord-agent -p coord-shim -p coord-monitor -p coord-probe -p coordctl -p coord-tests
bin=${CARGO_TARGET_DIR:-target}/$TARGET/release
COORD_TEST_BIN=$(readlink -f "$bin") COORD_TEST_HELPERS=$(readlink -f "$bin") exec "$bin/coord-bench" "$@"
