#!/usr/bin/env bash
# Installs what is missing on a Debian machine; says nothing where nothing is.
#
#   tests/setup.sh         everything that the tests need
#   tests/setup.sh demo    only what examples/quickstart.sh needs
#   tests/setup.sh guest   only what tests/guest/run.sh needs
#   tests/setup.sh bench   only what tests/bench/ needs: other engines, and the fastest inflaters
#
# Packages come from the machine's own package sources, tools from cargo's registry. No service is started.
set -euo pipefail

# command -> the Debian package that brings it
BUILD="cc:build-essential musl-gcc:musl-tools curl:curl git:git"
DEMO="busybox:busybox-static docker-registry:docker-registry"
TEST="shellcheck:shellcheck ip:iproute2 nsenter:util-linux setpriv:util-linux tini:tini openssl:openssl systemd-analyze:systemd
    umoci:umoci skopeo:skopeo mkfs.ext4:e2fsprogs losetup:mount zstd:zstd nft:nftables crun:crun runc:runc
    buildah:buildah podman:podman dockerd:docker.io docker:docker.io svn:subversion sshd:openssh-server aiosmtpd:python3-aiosmtpd tcc:tcc"
GUEST="mmdebstrap:mmdebstrap linux.uml:user-mode-linux mke2fs:e2fsprogs depmod:kmod"
BENCH="docker-registry:docker-registry dockerd:docker.io podman:podman containerd:containerd skopeo:skopeo umoci:umoci
    buildah:buildah mmdebstrap:mmdebstrap igzip:isal zstd:zstd busybox:busybox-static crun:crun runc:runc nft:nftables wrk:wrk"
TARGET=$(uname -m)-unknown-linux-musl
# Python's own package index has the one S3-compatible server that is light enough; the tests look for it here.
S3_SERVER="moto[s3]==5.2.5 flask flask-cors"
S3_HOME=$(dirname "$(dirname "$(readlink -f "$0")")")/target/s3-server

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The names of the packages whose command is not there, each once.
missing() {
    local pair
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done | sort -u
    # The busybox that is there may be the one with shared libraries, which is of no use inside an image.
    if command -v busybox >/dev/null && [ "$(dpkg-query -W -f '${db:Status-Status}' busybox-static 2>/dev/null)" != installed ]; then
        echo busybox-static
    fi
}

apt_install() {
    [ "$(id -u)" = 0 ] || die "needs root to install: $*"
    command -v apt-get >/dev/null || die "not a Debian machine; install what these packages bring: $*"
    say "installing $*"
    local policy=/usr/sbin/policy-rc.d wrote_policy="" wait=(-o DPkg::Lock::Timeout=300)
    # A package may bring a service (the registry does). Debian's own switch keeps it from starting.
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        wrote_policy=1
    fi
    local status=0
    export DEBIAN_FRONTEND=noninteractive
    { apt-get "${wait[@]}" -qq update && apt-get "${wait[@]}" -qq -y --no-install-recommends install "$@"; } >/dev/null </dev/null || status=$?
    [ -z "$wrote_policy" ] || rm -f $policy
    [ $status = 0 ] || die "apt-get could not install $*"
    case " $* " in *" docker-registry "*)
        # Nor at the next boot: the demonstration and the tests start their own.
        [ ! -d /run/systemd/system ] || systemctl -q disable docker-registry ;;
    esac
}

rust() {
    command -v cargo >/dev/null || { [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH=$HOME/.cargo/bin:$PATH; }
    command -v cargo >/dev/null || die "no Rust here; install it with rustup (https://rustup.rs), then try again"
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$TARGET" ]; then
        command -v rustup >/dev/null || die "this Rust cannot build for $TARGET, and there is no rustup to add it"
        say "adding the target $TARGET"
        rustup -q target add "$TARGET"
    fi
}

nextest() {
    cargo nextest --version >/dev/null 2>&1 && return
    say "building cargo-nextest (a few minutes, once)"
    cargo install -q --locked cargo-nextest
}

# An environment of Debian's Python with the server in it; made once, and anew only if it was not made to its end.
s3_server() {
    [ ! -x "$S3_HOME/bin/moto_server" ] || return 0
    /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    say "installing an S3-compatible server for the tests (a minute, once)"
    /usr/bin/python3 -m venv "$S3_HOME"
    # shellcheck disable=SC2086 # a list of words
    "$S3_HOME/bin/pip" install -q --disable-pip-version-check $S3_SERVER >&2 || die "pip could not install $S3_SERVER"
}

components() {
    local name
    for name in rustfmt clippy; do
        cargo "${name/rustfmt/fmt}" --version >/dev/null 2>&1 || { say "adding $name"; rustup -q component add "$name"; }
    done
}

what=${1:-test}
case $what in
    demo) need="$BUILD $DEMO" ;;
    test) need="$BUILD $DEMO $TEST" ;;
    guest) need="$BUILD $GUEST" ;;
    bench) need="$BUILD $BENCH" ;;
    *) die "unknown: $what (demo, test, guest or bench)" ;;
esac
# shellcheck disable=SC2086 # lists of words
packages=$(missing $need)
# shellcheck disable=SC2086
[ -z "$packages" ] || apt_install $packages
rust
[ $what != test ] || { components; nextest; s3_server; }
