#!/usr/bin/env bash
# Fuzzes what reads hostile bytes: the reader of layers, the reader of index files, the parser of manifests.
#
#   agent/image/fuzz/run.sh                  100,000 runs of each target
#   agent/image/fuzz/run.sh 5000000          more of them
#   agent/image/fuzz/run.sh 5000000 layer    of one
#
# Needs a stable toolchain and a C++ compiler, nothing else; where cargo-fuzz is installed, `cargo fuzz run layer` works as well.
# What is found lies in target/artifacts/, what was learnt in target/corpus/; both are kept for the next time. The unit tests make
# the same checks on seeded damage, a few thousand times, so that the reader stays honest from day to day without any of this.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
export PATH=$PATH:$HOME/.cargo/bin

RUNS=${1:-100000}
shift || true
TARGETS=${*:-layer index manifest}
HOST=$(rustc -vV | sed -n 's/^host: //p')
# Longer inputs find nothing more, and are slower to try.
INPUT_MAX_BYTES=16384

# GNU tar's own formats are the seeds, with whatever an archive can hold.
seeds() {
    local from=$1 to=$2 format
    mkdir -p "$from/usr/lib" "$from/$(printf 'n%.0s' {1..90})/$(printf 'm%.0s' {1..90})" "$to"
    echo text >"$from/usr/lib/file"
    ln -f "$from/usr/lib/file" "$from/also"
    ln -sfn usr/lib "$from/lib"
    mkfifo "$from/pipe"
    : >"$from/usr/.wh.gone"
    : >"$from/usr/lib/.wh..wh..opq"
    truncate -s 1000000 "$from/sparse"
    echo middle | dd of="$from/sparse" bs=1 seek=500000 conv=notrunc status=none
    tar --format=ustar -C "$from" -cf "$to/ustar.tar" usr lib also pipe
    for format in gnu oldgnu; do
        tar "--format=$format" --sparse -C "$from" -cf "$to/$format.tar" .
    done
    for format in 0.0 0.1 1.0; do
        tar --format=posix --sparse "--sparse-version=$format" -C "$from" -cf "$to/posix-$format.tar" .
    done
}

# Versions as they ship; only what fuzzing adds is looked up anew.
[ -f Cargo.lock ] || cp ../../../Cargo.lock .
# As cargo-fuzz has it: coverage of every edge and comparison, and every assertion.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks"
cargo build --release --target "$HOST"

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
seeds "$state/folder" "$state/seeds/layer"
mkdir -p "$state/seeds/index" "$state/seeds/manifest"
export SEEDS_FROM=$state/seeds/layer SEEDS_TO=$state/seeds/index
echo '{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:0","size":1},"layers":[]}' \
    >"$state/seeds/manifest/manifest.json"
echo '{"schemaVersion":2,"manifests":[{"digest":"sha256:0","size":1,"platform":{"architecture":"amd64","os":"linux"}}]}' \
    >"$state/seeds/manifest/index.json"
echo 'Bearer realm="https://auth.example.org/token",service="registry",scope="repository:shop/web:pull"' \
    >"$state/seeds/manifest/challenge"
for target in $TARGETS; do
    mkdir -p "target/corpus/$target" "target/artifacts/$target"
    printf '\n=== %s, %s runs\n' "$target" "$RUNS"
    "target/$HOST/release/$target" -runs="$RUNS" -max_len=$INPUT_MAX_BYTES -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -verbosity=0 -artifact_prefix="target/artifacts/$target/" "target/corpus/$target" "$state/seeds/$target" \
        2>&1 | grep -Eiv '# Uses: |recommended dictionary'
done
