#!/usr/bin/env bash
# The checks of tests/guest/run.sh, inside a machine of its own: real systemd as pid 1, a pure cgroup v2 tree, swap.
#
#   inside.sh    goes on where the last boot left off: it reboots the machine once, and switches it off at the end
#
# Beside it lie bin/ and systemd/, what is to be checked; it leaves `results` (a line for each check) and, until the last
# check is through, `stage`. Whatever can be seen in the kernel's or systemd's own books is looked up there and not asked
# of the agent. Needs: curl, jq, docker-registry, busybox-static. Never run it on a machine that you want to keep.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
registry=127.0.0.1:5000
five="limits tick-1 tick-2 tick-3 tick-4"
documents=/etc/coord/desired
logs=/var/lib/coord/log
slice=/sys/fs/cgroup/coord.slice
reboot_wait=300 # seconds for anything after a boot: everything starts at once

# --- results

# check SENTENCE COMMAND... : holds if the command ends with 0; what it says is shown if not
check() {
    local sentence=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "ok      $sentence" >>"$here/results"
    else
        echo "FAILED  $sentence" >>"$here/results"
        head -n 20 <<<"${said:-($*)}" | sed 's/^/        | /' >>"$here/results"
    fi
    sync
}
figure() { echo "        $*" >>"$here/results"; }
equal() { [ "$1" = "$2" ] || { echo "is '$1', not '$2'"; return 1; }; }
not() { ! "$@"; }
# within SECONDS COMMAND... : waits until the command ends with 0
within() {
    local deadline=$((SECONDS + $1)) said
    shift
    until said=$("$@" 2>&1); do
        [ $SECONDS -lt $deadline ] || { echo "waited in vain for: $*"; echo "$said"; return 1; }
        sleep 0.2
    done
}

# --- what there is

ctl() { coordctl --url http://127.0.0.1:7700 --token-file /var/lib/coord-coordinator/admin-token "$@"; }
prop() { systemctl show -p "$2" --value "$1"; } # UNIT PROPERTY
scope() { systemctl list-units --plain --no-legend --state=active "coord-$1.0-*.scope" | cut -d' ' -f1; } # WORKLOAD
scopes() { systemctl list-units --plain --no-legend --state=active 'coord-*.scope' | wc -l; }
group() { echo "$slice/$(scope "$1")/ct"; } # WORKLOAD -> the container's own cgroup
init_of() { head -n1 "$(group "$1")/cgroup.procs"; }
inits() { local name; for name in $five; do echo "$name $(init_of "$name")"; done; }
instance() { ctl status -o json | jq -c --arg name "$1" '.workloads[] | select(.name == $name) | .instances[0].report'; }
is() { [ "$(instance "$1" | jq -r "$2")" = "$3" ] || { instance "$1"; return 1; }; } # WORKLOAD FILTER VALUE
all_ready() {
    local name
    for name in $five; do is "$name" '"\(.ready) \(.state)"' "true running" || return 1; done
}
same_containers() { # BEFORE
    local name
    equal "$(inits)" "$1" || return 1
    all_ready || return 1
    for name in $five; do is "$name" .restarts 0 || return 1; done
}
# Containers count: every number must be in the log, once.
no_hole() {
    local name status=0
    for name in $five; do
        jq -rR 'fromjson? | .m' "$logs/$name.0.jsonl" |
            awk -v name="$name" 'NR > 1 && $1 != last + 1 { print name ": " $1 " after " last; bad = 1 } { last = $1 } END { exit bad || NR < 20 }' || status=1
    done
    return $status
}
grows() { # FILE
    local before
    before=$(stat -c %s "$1") || return 1
    within 10 eval "[ \$(stat -c %s '$1') -gt $before ]"
}
all_logs_grow() { local name; for name in $five; do grows "$logs/$name.0.jsonl" || return 1; done; }

# --- documents

# document NAME LINE... : written aside and renamed, as careful editors do
document() {
    local name=$1
    shift
    { printf 'image = "%s/guest/box:1"\nhosts = ["guest"]\n' "$registry"; printf '%s\n' "$@"; } >"$documents/.$name"
    mv "$documents/.$name" "$documents/$name.toml"
}
counting='command = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; usleep 50000; done"]'

# --- stages

install_all() {
    install -m 755 "$here"/bin/{coordinator,coordctl,coord,coord-agent,coord-shim,coord-monitor} /usr/bin/ &&
        install -m 644 "$here/systemd/sysusers.conf" /usr/lib/sysusers.d/coord.conf &&
        install -m 644 "$here/systemd/tmpfiles.conf" /usr/lib/tmpfiles.d/coord.conf &&
        install -m 644 "$here"/systemd/{coordinator.service,coord-agent.service,coord.slice} /etc/systemd/system/ &&
        systemd-sysusers && systemd-tmpfiles --create &&
        printf '[[registry]]\nprefix = "%s"\ninsecure = true\n' "$registry" >/etc/coord/coordinator.toml &&
        systemd-tmpfiles --create && systemctl daemon-reload
}
verify_units() {
    local said
    said=$(systemd-analyze verify --man=no /etc/systemd/system/{coordinator.service,coord-agent.service,coord.slice} 2>&1) || true
    ! grep coord <<<"$said"
}
make_swap() { fallocate -l 128M /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile; }
push_image() {
    # Debian's own configuration asks for a password.
    cat >/etc/docker/registry/config.yml <<Y
version: 0.1
log: { level: warn, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: /var/lib/docker-registry } }
http: { addr: '$registry' }
Y
    systemctl start docker-registry && within 60 curl -sf -o /dev/null "http://$registry/v2/" &&
        "$here/bin/coord-testimage" "$registry" guest/box 1 &&
        COORD_TEST_HELPERS=$here/bin "$here/bin/coord-testimage" --probe "$registry" guest/probe 1
}
add_host() {
    local token
    token=$(ctl hosts add guest | grep -o 'coord-agent-[A-Za-z0-9_-]*') || return 1
    (umask 077 && printf 'host = "guest"\ncoordinator = ["http://127.0.0.1:7700"]\ntoken = "%s"\n\n[[registry]]\nprefix = "%s"\ninsecure = true\n' \
        "$token" "$registry" >/etc/coord/agent.toml)
}
start_five() {
    local name
    document limits "$counting" '[resources]' 'memory = "64MiB"' 'cpus = 0.5' 'pids = 40'
    for name in $five; do [ "$name" = limits ] || document "$name" "$counting"; done
    within 120 all_ready
}

check_install() {
    check "there is systemd, a pure cgroup v2 tree and swap" eval 'make_swap; [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && grep -q swapfile /proc/swaps'
    check "the programs, units, user and folders install as the README says" install_all
    check "systemd-analyze verify has nothing to say about the units" verify_units
    check "a registry runs and has taken an image" push_image
    check "systemctl start coordinator: active when it is ready" started coordinator
    check "the host is added" add_host
    check "systemctl start coord-agent: active when it is ready" started coord-agent
    started=$SECONDS
    check "both are of Type=notify" equal "$(prop coordinator Type) $(prop coord-agent Type)" "notify notify"
    check "five containers run" start_five
}

agent_alone() { equal "$(cat "/sys/fs/cgroup$(prop coord-agent ControlGroup)/cgroup.procs")" "$(prop coord-agent MainPID)"; }
check_placement() {
    local group
    group=$(group limits)
    check "a container is in a scope of its own below coord.slice" equal "$(sed -n 's/^0:://p' "/proc/$(init_of limits)/cgroup")" "/coord.slice/$(scope limits)/ct"
    check "there are as many scopes as containers" equal "$(scopes)" 5
    check "the agent's own unit holds the agent alone" agent_alone
    check "memory.max is what the document says" equal "$(cat "$group/memory.max")" $((64 * 1024 * 1024))
    check "memory.swap.max leaves no way around it" equal "$(cat "$group/memory.swap.max")" 0
    check "cpu.max is what the document says" equal "$(cat "$group/cpu.max")" "50000 100000"
    check "pids.max is what the document says" equal "$(cat "$group/pids.max")" 40
    check "a container without limits has none but the usual one of processes" equal "$(cat "$(group tick-1)"/{memory,pids}.max | xargs)" "max 2048"
}

share_of_cpu() { # WORKLOAD SECONDS -> percent of one CPU
    local file before
    file=$(group "$1")/cpu.stat
    before=$(awk '/^usage_usec/ { print $2 }' "$file")
    sleep "$2"
    awk -v before="$before" -v seconds="$2" '/^usage_usec/ { printf "%d", ($2 - before) / seconds / 10000 }' "$file"
}
check_limits() {
    document hog 'restart = "no"' 'command = ["tail", "/dev/zero"]' '[resources]' 'memory = "32MiB"'
    check "a container that wants too much memory is reported as killed for it" within 60 is hog .last_exit.oom_killed true
    figure "$(ctl status hog | tail -n 1)"
    document bomb 'command = ["sh", "-c", "(while :; do sleep 1000 & done) & exec sleep 1000"]' '[resources]' 'pids = 20'
    check "a fork bomb runs into pids.max" within 60 eval 'grep -q "^max [1-9]" "$(group bomb)/pids.events"'
    check "and has no more processes than that" eval '[ "$(cat "$(group bomb)/pids.current")" -le 20 ]'
    document busy 'command = ["sh", "-c", "while :; do :; done"]' '[resources]' 'cpus = 0.2'
    check "a busy container runs" within 60 is busy .state running
    cpu=$(share_of_cpu busy 5)
    figure "with cpus = 0.2 a busy container had $cpu % of a CPU"
    check "and has no more CPU time than its share" eval "[ $cpu -ge 5 ] && [ $cpu -le 25 ]"
    rm "$documents"/{hog,bomb,busy}.toml
    check "they are gone when their documents are, scopes and all" within 60 eval '[ "$(scopes)" = 5 ] && [ ! -e /run/coord/c/bomb* ]'
    check "the other containers did not notice" all_ready
}

# What a container must not do, tried from inside; see tests/it/isolation.rs for what may be open, and why.
may_be_open="capabilities bounding uid-map ns-user ns-pid ns-net ns-ipc ns-uts ns-mnt ns-cgroup mknod-block memory-bomb"
probe_document() { # NAME LINE... : as `document`, with the probe's image
    local name=$1
    shift
    { printf 'image = "%s/guest/probe:1"\nhosts = ["guest"]\nrestart = "no"\n' "$registry"; printf '%s\n' "$@"; } >"$documents/.$name"
    mv "$documents/.$name" "$documents/$name.toml"
}
probed() { jq -rR "fromjson? | .m | fromjson? | select($1) | .name" "$logs/probe.0.jsonl"; }
nothing_open() {
    local line wrong=""
    for line in $(probed '.exposure != 0'); do
        [[ " $may_be_open " == *" $line "* ]] || wrong+=" $line"
    done
    equal "$wrong" ""
}
check_isolation() {
    probe_document probe 'command = ["/probe"]' '[resources]' 'memory = "128MiB"'
    check "a probe tries what a container must not do" within 180 eval 'probed .name | grep -q rlimit-raise'
    check "and nothing is open that must be closed" nothing_open
    figure "$(probed .name | wc -l) lines, open: $(probed '.exposure != 0' | xargs)"
    rm "$documents/probe.toml"
    check "it is gone when its document is" within 60 eval '[ "$(scopes)" = 5 ]'
}

# A container that starts another one within itself: limits stand at three levels of the tree.
nested_group() { echo "$(group outer)/nested"; }
inner_group() { find "$(nested_group)" -mindepth 2 -maxdepth 2 -type d -name ct; }
# Its group is there a moment before its limits are.
inner_has_its_limit() { equal "$(cat "$(inner_group)/pids.max")" 20; }
inner_at_its_limit() { [ "$(cat "$(inner_group)/pids.current")" -le 20 ] && grep -q "^max [1-9]" "$(inner_group)/pids.events"; }
no_nested_left() {
    equal "$(scopes)" 5 && equal "$(find /run/coord/nested/c /var/lib/coord/nested/{c,d,p} -mindepth 1 2>/dev/null)" "" &&
        not grep nested/ /proc/self/mountinfo
}
write_nested() {
    local coord=/run/coord/coord image=$registry/guest/box:1 bomb='(while :; do sleep 1000 & done) 2>/dev/null & exec sleep 1000'
    document outer "command = ['sh', '-c', '''
echo published >/tmp/file && $coord cache create work --path /files && $coord cache put work /tmp/file &&
    $coord run --image $image --cache work:ro -- cat /files/file &&
    $coord run -d --name inner --pids 20 --image $image -- sh -c \"$bomb\"
exec sleep 100000''']" 'nested = { containers = 2, memory = "48MiB", cpus = 0.5, pids = 60 }' '[resources]' 'memory = "96MiB"' 'pids = 200'
}
inner_survives() {
    local before
    before=$(cat "$(inner_group)/cgroup.procs" | head -n 1)
    systemctl restart coord-agent && within 30 is outer '"\(.state) \(.restarts)"' "running 0" && kill -0 "$before"
}
check_nested() {
    write_nested
    check "a container starts another one within itself, and hands it a file" within 120 grep -qs '"published"' "$logs/outer.0.jsonl"
    check "and one that stays" within 60 eval '[ -n "$(inner_group)" ]'
    check "the first one's own processes are in a leaf" eval '[ -n "$(cat "$(group outer)/main/cgroup.procs")" ] && [ -z "$(cat "$(group outer)/cgroup.procs")" ]'
    check "its limits hold for the sum" equal "$(cat "$(group outer)"/{memory,pids}.max | xargs)" "$((96 << 20)) 200"
    check "those of its permission for all within it" equal "$(cat "$(nested_group)"/{memory,pids,cpu}.max | xargs)" "$((48 << 20)) 60 50000 100000"
    check "and the second one's own for that one" within 60 inner_has_its_limit
    check "a fork bomb in it runs into that" within 60 inner_at_its_limit
    check "the agent's restart ends neither" inner_survives
    rm "$documents/outer.toml"
    check "with the first one's document all of it is gone" within 60 no_nested_left
}

# What is wrong with a unit that does not start is in the journal.
started() { systemctl start "$1" || { journalctl -q -o cat -b -u "$1" | tail -n 20; false; }; }
restarted() { [ "$(prop coord-agent MainPID)" != "$1" ] && [ "$(prop coord-agent ActiveState)" = active ]; }
check_agent_restarts() {
    local before agent
    before=$(inits)
    check "systemctl restart coord-agent" systemctl restart coord-agent
    check "restart: the same processes, no restarts" within 30 same_containers "$before"
    check "restart: the unit holds the agent alone" agent_alone
    agent=$(prop coord-agent MainPID)
    check "systemctl kill -s KILL coord-agent: systemd starts it again" eval "systemctl kill -s KILL coord-agent; within 30 restarted $agent"
    check "kill: the same processes, no restarts" within 30 same_containers "$before"
    check "systemctl daemon-reload" systemctl daemon-reload
    check "reload: the same processes, no restarts" same_containers "$before"
    check "systemctl daemon-reexec" systemctl daemon-reexec
    check "reexec: the same processes, no restarts" within 30 same_containers "$before"
    check "reexec: the limits stand" equal "$(cat "$(group limits)"/{memory,pids}.max | xargs)" "67108864 40"
    check "systemctl stop coord-agent" systemctl stop coord-agent
    check "stop: the same processes" equal "$(inits)" "$before"
    check "stop: the containers' logs go on" all_logs_grow
    check "systemctl start coord-agent" systemctl start coord-agent
    check "start: the same processes, no restarts" within 30 same_containers "$before"
    check "no container's log has a hole" no_hole
}

check_scopes() {
    local before seconds
    before=$(init_of tick-1)
    seconds=$SECONDS
    check "systemctl stop of a container's scope ends" systemctl stop "$(scope tick-1)"
    check "though its first process ignores SIGTERM, within 20 s" [ $((SECONDS - seconds)) -le 20 ]
    check "it is seen as an exit" within 30 is tick-1 .restarts 1
    check "and the container is started again, by its policy" within 60 is tick-1 .state running
    check "as a new process in a new scope" eval "[ -n \"\$(init_of tick-1)\" ] && [ \"\$(init_of tick-1)\" != '$before' ]"
    seconds=$SECONDS
    check "systemctl stop coord.slice ends" systemctl stop coord.slice
    check "within 20 s" [ $((SECONDS - seconds)) -le 20 ]
    check "and all containers are started again" within 120 all_ready
    check "each once" is tick-2 .restarts 1
}

check_daemons() {
    # Two periods of WatchdogSec, and one to be sure.
    within 120 eval "[ $((SECONDS - started)) -ge 0 ] && [ \$SECONDS -ge $((started + 90)) ]"
    check "the coordinator has been active beyond WatchdogSec without a restart" equal "$(prop coordinator ActiveState) $(prop coordinator NRestarts)" "active 0"
    check "the agent was restarted only when it was killed" equal "$(prop coord-agent ActiveState)" active
    check "no watchdog has barked" not eval 'journalctl -q -u coordinator -u coord-agent | grep -i "watchdog timeout"'
    check "the watchdogs are fed" eval '[ "$(prop coordinator WatchdogTimestampMonotonic)" -gt 0 ] && [ "$(prop coord-agent WatchdogTimestampMonotonic)" -gt 0 ]'
    check "the journal has no colours and no second time stamps" not eval 'journalctl -q -o cat _SYSTEMD_UNIT=coordinator.service + _SYSTEMD_UNIT=coord-agent.service | grep -P "\x1b|^\d{4}-\d\d-\d\dT"'
    check "and no errors" not eval 'journalctl -q -o cat _SYSTEMD_UNIT=coordinator.service + _SYSTEMD_UNIT=coord-agent.service | grep -E "ERROR|panicked"'
    figure "agent: $(awk '/^Pss:/ { print $2 }' "/proc/$(prop coord-agent MainPID)/smaps_rollup") KiB PSS with five containers"
    journalctl -q -o cat -u coordinator -u coord-agent >"$here/journal.1"
}

first_boot() {
    check_install
    check_placement
    check_limits
    check_isolation
    check_nested
    check_agent_restarts
    check_scopes
    check_daemons
    check "the agent starts at boot, the coordinator and the registry do not" eval 'systemctl -q enable coord-agent; systemctl -q disable coordinator docker-registry'
    echo second >"$here/stage"
    date +%s >"$here/rebooted"
    sync
    systemctl reboot
}

running_by_kernel() { local name; for name in $five; do [ -n "$(scope "$name")" ] && [ -n "$(init_of "$name")" ] || return 1; done; }
nothing_left() {
    equal "$(scopes)" 0 && equal "$(ls -A /run/coord/c 2>/dev/null)" "" && not grep /var/lib/coord /proc/self/mountinfo
}
second_boot() {
    figure "from the command to reboot to the end of the next boot: $(($(date +%s) - $(cat "$here/rebooted"))) s"
    check "after a reboot all containers run, from the ledger" within $reboot_wait running_by_kernel
    check "without a coordinator and a registry" equal "$(prop coordinator ActiveState) $(prop docker-registry ActiveState)" "inactive inactive"
    check "their limits stand" equal "$(cat "$(group limits)"/{memory,pids}.max | xargs)" "67108864 40"
    check "their logs go on" all_logs_grow
    check "the coordinator comes back" systemctl start coordinator
    check "and knows how all stand" within 60 all_ready
    check "systemctl stop coord-agent" systemctl stop coord-agent
    check "coord-agent purge" coord-agent purge
    check "leaves nothing" nothing_left
    journalctl -q -o cat -b -u coordinator -u coord-agent >"$here/journal.2"
    rm "$here/stage"
    sync
    systemctl poweroff
}

"$(cat "$here/stage")_boot"
