#!/usr/bin/env bash
# Checks the installed product on a real systemd host with a pure cgroup v2 tree: a small Debian guest on user-mode Linux,
# which needs no virtualisation and runs as an ordinary process. What is checked is in inside.sh.
#
#   tests/guest/run.sh
#
# The first run makes the guest's disk from Debian packages (two minutes), in target/guest or $COORD_GUEST; every run starts
# from a fresh copy. Not part of tests/run.sh. Needs root, for the owners of the guest's files, and the package sources of
# a Debian machine. Leaves the disk, `results`, and the guest's journals.
set -euo pipefail
top=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
target=$(uname -m)-unknown-linux-musl
bin=${CARGO_TARGET_DIR:-$top/target}/$target/release
dir=$(readlink -m "${COORD_GUEST:-$top/target/guest}")
share=$dir/share
memory=512M
run_seconds=1800 # a run takes five minutes on two idle cores
packages=systemd,systemd-sysv,dbus,udev,kmod,procps,iproute2,curl,jq,busybox-static,docker-registry

say() { printf '==> %s\n' "$*"; }
die() { printf 'guest: %s\n' "$*" >&2; exit 1; }

build() {
    say "Building"
    cargo build -q --release --locked --target "$target" --manifest-path "$top/Cargo.toml" --bins \
        -p coordinator -p coord-agent -p coord-cli -p coord-shim -p coord-monitor -p coord-probe -p coordctl -p coord-tests
}

# The kernel's modules are inside; nothing else of this machine is.
make_disk() {
    [ ! -e "$dir/disk" ] || return 0
    say "Making the guest's disk"
    local root=$dir/root suite modules
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mkdir -p "$dir"
    rm -rf --one-file-system "$root"
    mmdebstrap -q --variant=minbase --include="$packages" "$suite" "$root"
    modules=$(echo /usr/lib/uml/modules/*)
    mkdir -p "$root/lib/modules"
    cp -a "$modules" "$root/lib/modules/"
    depmod -b "$root" "$(basename "$modules")"
    echo '/dev/ubda / ext4 rw,noatime 0 1' >"$root/etc/fstab"
    echo guest >"$root/etc/hostname"
    # Not before somebody starts it.
    rm -f "$root"/etc/systemd/system/multi-user.target.wants/docker-registry.service
    cat >"$root/etc/systemd/system/checks.service" <<'U'
[Unit]
Description=what this guest is for
[Service]
# The folder on the machine outside comes by the kernel's command line.
ExecStart=/bin/sh -c 'mkdir -p /mnt/host && mount -t hostfs none -o "$(sed "s/.*share=//; s/ .*//" /proc/cmdline)" /mnt/host && exec /mnt/host/inside.sh'
U
    # With the others and not after them: the time of a boot is measured.
    ln -s ../checks.service "$root/etc/systemd/system/multi-user.target.wants/checks.service"
    rm -f "$dir/disk.new"
    truncate -s 4G "$dir/disk.new"
    mke2fs -q -t ext4 -d "$root" "$dir/disk.new"
    mv "$dir/disk.new" "$dir/disk"
    rm -rf --one-file-system "$root"
}

fill_share() {
    rm -rf --one-file-system "$share"
    mkdir -p "$share/bin"
    install -m 755 "$bin"/{coordinator,coordctl,coord,coord-agent,coord-shim,coord-monitor,coord-probe,coord-testimage} "$share/bin/"
    cp -a "$top/systemd" "$share/"
    cp -a "$top/tests/guest/inside.sh" "$share/"
    echo first >"$share/stage"
    : >"$share/results"
}

# The kernel starts itself again when the guest reboots, and ends when it is switched off.
run_guest() {
    local kernel status=0
    rm -rf --one-file-system "$dir/changes" "$dir/uml"
    mkdir "$dir/uml"
    setsid linux.uml "ubd0=$dir/changes,$dir/disk" root=/dev/ubda rw "mem=$memory" umid=guest "uml_dir=$dir/uml" \
        con=null con0=null,fd:1 ssl=null quiet systemd.unified_cgroup_hierarchy=1 "share=$share" </dev/null >"$dir/console" 2>&1 &
    kernel=$!
    # shellcheck disable=SC2064 # this kernel
    trap "kill -9 -- -$kernel 2>/dev/null || true" EXIT
    local deadline=$((SECONDS + run_seconds))
    while kill -0 $kernel 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || { echo "FAILED  the guest is through within $run_seconds s" >>"$share/results"; break; }
        sleep 1
    done
    kill -9 -- -$kernel 2>/dev/null || true
    wait $kernel 2>/dev/null || status=$?
    trap - EXIT
    rm -f "$dir/changes"
    [ ! -e "$share/stage" ] || echo "FAILED  all checks were made; the guest ended with $status in its $(cat "$share/stage") boot, see $dir/console" >>"$share/results"
}

[ "$(id -u)" = 0 ] || die "run it as root: the guest's files have owners"
[ "$(uname -m)" = x86_64 ] || die "user-mode Linux is there for x86_64 alone"
"$top/tests/setup.sh" guest
PATH=$PATH:$HOME/.cargo/bin
build
make_disk
fill_share
say "Running the checks in the guest; $share/results grows meanwhile"
run_guest
cat "$share/results"
grep -q '^ok' "$share/results" || die "not one check was made"
! grep -q '^FAILED' "$share/results" || die "$(grep -c '^FAILED' "$share/results") checks failed; the guest's journals are $share/journal.*"
