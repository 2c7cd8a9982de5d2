#!/usr/bin/env bash
# Builds everything as it ships, then measures; Markdown tables on standard output.
#
#   tests/bench/run.sh            publish to running, beside docker and podman, and memory: about ten minutes
#   tests/bench/run.sh --quick    a few runs of each, to see that it works
#   tests/bench/run.sh pull --images DIR [--quick]
#                                 registry to mounted root file system, beside docker, podman, containerd and skopeo with
#                                 umoci; tests/bench/images.sh makes the images. Six images five times: about half an hour
#
#   tests/bench/run.sh isolation  what a container can do that it should not: docker, podman and ours; three minutes
#   tests/bench/run.sh start [--quick]
#                                 start to exit of `true`, to running, stop to gone: beside crun, runc, podman, docker, ctr
#   tests/bench/run.sh memory [--quick]
#                                 what runs beside 0, 10 and 100 containers weighs
#   tests/bench/run.sh nested [--quick]
#                                 from the call in a container to the first output of a second one: beside docker with a mounted
#                                 socket, and docker in docker
#   tests/bench/run.sh network --images DIR [--seconds N]
#                                 nginx on a published port under wrk; DIR/nginx is an OCI layout
#   tests/bench/run.sh crashloop [COUNT [SECONDS]]
#                                 the agent's processor time with 500 containers that crash
#   tests/bench/run.sh registry [--images DIR] [--mib N] [--runs N]
#                                 pushes and pulls: the image centre beside docker-registry, a layer of 2 GiB and DIR's images
#   tests/bench/run.sh line [RUNS]
#                                 from a push to a page that three hosts serve, part by part
#   tests/bench/run.sh chaos [KILLS [SEED [none|bridge]]]
#                                 200 kills of agent, monitors, shims and containers; nothing may be left behind
#   tests/bench/run.sh upgrade COMMIT [COUNT]
#                                 the agent of an older commit starts 50 containers, today's takes them over
#
# Run it as root, on a machine that does nothing else. `tests/setup.sh bench` installs what it is compared with.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export PATH=$PATH:$HOME/.cargo/bin
TARGET=$(uname -m)-unknown-linux-musl
bin=${CARGO_TARGET_DIR:-target}/$TARGET/release
# The older build lies beside this one and is made once; its dependencies are not compiled anew where they are the same.
older() {
    local commit tree out
    commit=$(git rev-parse --verify -q "$1^{commit}") || { echo "no commit $1" >&2; return 1; }
    out=$PWD/${CARGO_TARGET_DIR:-target}/older-$commit
    if [ ! -x "$out/coord-agent" ]; then
        tree=$(mktemp -d)
        git worktree add -q --detach "$tree" "$commit"
        CARGO_TARGET_DIR=$PWD/${CARGO_TARGET_DIR:-target} cargo build -q --locked --release --target "$TARGET" \
            --manifest-path "$tree/Cargo.toml" -p coord-agent -p coord-shim -p coord-monitor
        mkdir -p "$out"
        cp "$bin"/coord-{agent,shim,monitor} "$out/"
        git worktree remove --force "$tree"
    fi
    echo "$out"
}
if [ "${1:-}" = upgrade ]; then
    [ $# -ge 2 ] || { echo "usage: tests/bench/run.sh upgrade COMMIT [COUNT]" >&2; exit 2; }
    from=$(older "$2")
    shift 2
    set -- upgrade --from "$from" "$@"
fi
# After the older one, which leaves its programs in the same folder.
cargo build -q --locked --release --target "$TARGET" --bins \
    -p coordinator -p coord-agent -p coord-cli -p coord-shim -p coord-monitor -p coord-probe -p coordctl -p coord-tests
COORD_TEST_BIN=$(readlink -f "$bin") COORD_TEST_HELPERS=$(readlink -f "$bin") exec "$bin/coord-bench" "$@"
