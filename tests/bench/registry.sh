#!/usr/bin/env bash
# The image centre beside Debian's docker-registry: one large layer pushed in one stream and pulled again; a Markdown table.
#
#   tests/bench/registry.sh [MEGABYTES [ROUNDS]]      2048 and 3 unless told; needs three times the room
#
# Rounds take turns, so that both see the same machine. Speed is the median; memory is the peak over all rounds. The centre syncs a
# layer to the disk before it says that it has it; docker-registry does not.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export PATH=$PATH:$HOME/.cargo/bin
megabytes=${1:-2048}
rounds=${2:-3}
target=$(uname -m)-unknown-linux-musl
cargo build -q --locked --release --target "$target" -p coord-centre --example serve
serve=${CARGO_TARGET_DIR:-target}/$target/release/examples/serve

lab=$(mktemp -d)
pids=()
cleanup() {
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$lab"
}
trap cleanup EXIT

# Where a registry listens: the first address that its log names.
address() {
    local found
    for _ in $(seq 200); do
        found=$(grep -oE '127\.0\.0\.1:[0-9]+' "$1" | head -1 || true)
        [ -z "$found" ] || { echo "$found"; return; }
        sleep 0.05
    done
    echo "nothing listens: $(cat "$1")" >&2
    return 1
}

"$serve" 127.0.0.1:0 "$lab/ours" >"$lab/ours.log" 2>&1 &
pids+=($!)
cat >"$lab/config.yml" <<EOF
version: 0.1
storage: {filesystem: {rootdirectory: $lab/theirs}}
http: {addr: "127.0.0.1:0"}
EOF
docker-registry serve "$lab/config.yml" >"$lab/theirs.log" 2>&1 &
pids+=($!)
declare -A at=([ours]=$(address "$lab/ours.log") [theirs]=$(address "$lab/theirs.log"))

# The place that an answer's headers name, whole.
place() {
    local to
    to=$(tr -d '\r' <"$lab/headers" | awk 'tolower($1) == "location:" { print $2 }')
    case $to in /*) echo "http://$1$to" ;; *) echo "$to" ;; esac
}

# Pushes a layer in one stream; the seconds that its two requests took.
push() {
    local to digest body
    digest=sha256:$(sha256sum "$2" | cut -d' ' -f1)
    curl -sf -o /dev/null -D "$lab/headers" -X POST "http://$1/v2/bench/layer/blobs/uploads/"
    to=$(place "$1")
    body=$(curl -sf -o /dev/null -D "$lab/headers" -w '%{time_total}' -X PATCH -T "$2" -H 'Content-Type: application/octet-stream' "$to")
    to=$(place "$1")
    case $to in *\?*) to="$to&" ;; *) to="$to?" ;; esac
    echo "$body $(curl -sf -o /dev/null -w '%{time_total}' -X PUT "${to}digest=$digest")" | awk '{ print $1 + $2 }'
}

pull() { curl -sf -o /dev/null -w '%{time_total}\n' "http://$1/v2/bench/layer/blobs/sha256:$(sha256sum "$2" | cut -d' ' -f1)"; }

speed() { sort -n "$1" | awk -v mb="$megabytes" '{ all[NR] = $1 } END { printf "%.0f MB/s", mb / all[int((NR + 1) / 2)] }'; }

for round in $(seq "$rounds"); do
    head -c "$((megabytes * 1000000))" /dev/urandom >"$lab/layer"
    for who in ours theirs; do
        push "${at[$who]}" "$lab/layer" >>"$lab/$who.push"
        pull "${at[$who]}" "$lab/layer" >>"$lab/$who.pull"
    done
    echo "round $round of $rounds" >&2
done

echo "| one layer of $megabytes MB | push | pull | processor for each GB pushed and pulled | peak memory |"
echo "| --- | --- | --- | --- | --- |"
index=0
for who in ours theirs; do
    pid=${pids[$index]}
    index=$((index + 1))
    cpu=$(awk -v hz="$(getconf CLK_TCK)" -v gb="$megabytes" -v n="$rounds" '{ printf "%.2f s", ($14 + $15) / hz / (gb / 1000 * n) }' "/proc/$pid/stat")
    memory=$(awk '/VmHWM/ { printf "%.1f MiB", $2 / 1024 }' "/proc/$pid/status")
    [ $who = ours ] && name="image centre" || name="docker-registry"
    echo "| $name | $(speed "$lab/$who.push") | $(speed "$lab/$who.pull") | $cpu | $memory |"
done
