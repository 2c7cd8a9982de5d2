#!/usr/bin/env bash
# From nothing to a served page: a registry, a coordinator and an agent on this machine, and one document.
#
#   examples/quickstart.sh [start]   builds, starts, waits until the page is served, says what to try next
#   examples/quickstart.sh stop      ends exactly what was started, and leaves nothing
#
# Everything lies in .quickstart (or in $COORD_QUICKSTART) and listens on 127.0.0.1 only. The daemons run in the
# background without systemd; how to install them for real is in README.md. Needs root, because containers do.
set -euo pipefail
top=$(dirname "$(dirname "$(readlink -f "$0")")")
dir=$(readlink -m "${COORD_QUICKSTART:-$top/.quickstart}")
target=$(uname -m)-unknown-linux-musl
bin=${CARGO_TARGET_DIR:-$top/target}/$target/release
wait_seconds=60 # for one daemon to answer, or to end; they need well under one

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '==> %s\n' "$*"; }
die() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }

# --- processes: remembered by pid and start time, so that a pid that was given to somebody else is left alone

start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
is_running() { # NAME
    local pid since
    read -r pid since 2>/dev/null <"$dir/pids/$1" && [ -n "$since" ] && [ "$(start_time "$pid")" = "$since" ]
}
launch() { # NAME COMMAND...
    local name=$1
    shift
    setsid "$@" </dev/null >>"$dir/log/$name.log" 2>&1 &
    echo "$! $(start_time $!)" >"$dir/pids/$name"
    disown
}
end() { # NAME
    local pid _
    is_running "$1" || return 0
    read -r pid _ <"$dir/pids/$1"
    kill "$pid"
    within $wait_seconds "$1 ends" not is_running "$1" || kill -9 "$pid"
}
not() { ! "$@"; }
within() { # SECONDS WHAT COMMAND...
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $deadline ] || { echo "waited in vain: $what" >&2; return 1; }
        sleep 0.1
    done
}
show_logs() {
    local log
    for log in "$dir"/log/*.log; do
        printf -- '--- the end of %s\n' "$log" >&2
        tail -n 15 "$log" >&2
    done
}

# --- ports: the usual one, or the next that is free; none is given out twice

used_ports=""
free_port() { # FIRST -> $port
    port=$1
    while [[ " $used_ports " == *" $port "* ]] || (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        port=$((port + 1))
    done
    used_ports+=" $port"
}

# --- start

build() {
    say "Building (static; the first time takes a few minutes)"
    local quiet=()
    [ -t 2 ] || quiet=(-q)
    cargo build "${quiet[@]}" --release --locked --target "$target" --manifest-path "$top/Cargo.toml" --bins \
        -p coordinator -p coord-agent -p coord-cli -p coord-shim -p coord-monitor -p coordctl -p coord-tests
}

start_registry() {
    say "Starting a registry and pushing two versions of an image"
    free_port 5000
    registry=127.0.0.1:$port
    echo "$registry" >"$dir/registry.address"
    cat >"$dir/registry.yml" <<Y
version: 0.1
log: { level: warn, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: $dir/registry } }
http: { addr: '$registry' }
Y
    launch registry docker-registry serve "$dir/registry.yml"
    within $wait_seconds "the registry answers" curl -sf -o /dev/null "http://$registry/v2/"
    "$bin/coord-testimage" "$registry" demo/web 1 2
}

start_coordinator() {
    say "Starting the coordinator"
    free_port 7700
    url=http://127.0.0.1:$port
    cat >"$dir/coordinator.toml" <<T
listen = "127.0.0.1:$port"
data_dir = "$dir/coordinator"
documents = "$dir/desired"

[[registry]]
prefix = "$registry"
insecure = true
T
    launch coordinator "$bin/coordinator" --config "$dir/coordinator.toml"
    within $wait_seconds "the coordinator answers" curl -sf -o /dev/null "$url/healthz"
    cat >"$dir/coordctl" <<C
#!/bin/sh
# coordctl, set up for this fleet
exec env COORD_URL=$url COORD_TOKEN_FILE='$dir/coordinator/admin-token' '$bin/coordctl' "\$@"
C
    chmod +x "$dir/coordctl"
}

start_agent() {
    say "Starting the agent of the host 'demo'"
    local token
    token=$("$dir/coordctl" hosts add demo 2>>"$dir/log/coordctl.log")
    (umask 077 && cat >"$dir/agent.toml") <<T
host = "demo"
coordinator = ["$url"]
token = "$token"
state_dir = "$dir/agent/state"
run_dir = "$dir/agent/run"
helpers = "$bin"

[labels]
role = "web"
builder = "true"

[builder]
memory = "256MiB"

[[registry]]
prefix = "$registry"
insecure = true
T
    launch agent "$bin/coord-agent" daemon --config "$dir/agent.toml"
}

publish() {
    free_port 8080
    page=127.0.0.1:$port
    say "Publishing $dir/desired/web.toml"
    cat >"$dir/web.draft" <<T
image = "$registry/demo/web:1"
hosts = ["role=web"]
network = "host"
environment = { GREETING = "Hello", LISTEN = "$page" }

[resources]
memory = "64MiB"
pids = 50
T
    mv "$dir/web.draft" "$dir/desired/web.toml"
    echo "$page" >"$dir/page"
    within $wait_seconds "the coordinator has read the document" eval '"$dir/coordctl" status -o json | grep -q "\"web\""'
    "$dir/coordctl" status --wait --timeout ${wait_seconds}s
    within $wait_seconds "the page is served" curl -sf -o /dev/null "http://$page/healthz"
}

start() {
    ! is_running agent || die "it runs already; '$0 stop' ends it"
    stop
    "$top/tests/setup.sh" demo
    PATH=$PATH:$HOME/.cargo/bin
    build
    mkdir -p "$dir"/{pids,log,desired,pipelines,registry}
    chmod 700 "$dir"
    trap give_up EXIT
    start_all
    trap - EXIT
}

# Whatever went wrong: show it, and leave nothing.
give_up() {
    trap - EXIT
    show_logs
    stop
    die "it did not start; the ends of the logs are above"
}

# For examples/pipeline.sh: whoever builds fetches from here, and has no rights on the files themselves.
start_git() {
    local page_port
    free_port 8090
    page_port=$port
    free_port 9418
    launch git "$(git --exec-path)/git-daemon" --reuseaddr --listen=127.0.0.1 --port="$port" --base-path="$dir" --export-all "$dir/shop"
    echo "127.0.0.1:$page_port $port" >"$dir/pipeline.addresses"
}

start_all() {
    start_registry
    start_coordinator
    start_agent
    start_git
    publish
    say "The page, from the container:"
    curl -sf "http://$page/"
    cat <<N

What to try next:
  $dir/coordctl status --watch                       in another terminal
  sed -i 's/web:1/web:2/; s/Hello/Good day/' $dir/desired/web.toml
  curl http://$page/                                 the new version, with no command in between
  $dir/coordctl logs web -f
  examples/pipeline.sh                                a git repository whose commits are built, tested and served
  $0 stop                                            ends everything and removes $dir
N
}

# --- stop

stop() {
    [ -e "$dir" ] || return 0
    # What is removed below must be ours.
    [ -d "$dir/pids" ] || die "$dir was not made by this script; name another folder by COORD_QUICKSTART"
    say "Stopping"
    end git
    end agent
    end coordinator
    end registry
    purge
    rm -rf --one-file-system "$dir"
    say "Stopped; nothing is left"
}

# Ending the agent ends no container, so containers, their mounts and cgroups are taken off by their own command.
purge() {
    [ -d "$dir/agent" ] || return 0
    [ -x "$bin/coord-agent" ] || build
    "$bin/coord-agent" purge --config "$dir/agent.toml" >>"$dir/log/purge.log" 2>&1 && return
    cat "$dir/log/purge.log" >&2
    die "not everything could be removed; mend what is said above, then try '$0 stop' again"
}

[ "$(id -u)" = 0 ] || die "containers need root: run it as root (sudo $0 $*)"
case ${1:-start} in
    start) start ;;
    stop) [ -e "$dir" ] || say "Nothing runs"; stop ;;
    *) die "usage: $0 [start|stop]" ;;
esac
