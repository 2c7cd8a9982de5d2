#!/usr/bin/env bash
# From a commit to a served page: a git repository, a pipeline, and two commits, on top of what quickstart.sh has started.
#
#   examples/quickstart.sh && examples/pipeline.sh     and later: examples/quickstart.sh stop, which ends this, too
#
# The quickstart's one host builds as well as serves. Steps run in containers of the quickstart's own image, a busybox.
set -euo pipefail
top=$(dirname "$(dirname "$(readlink -f "$0")")")
dir=$(readlink -m "${COORD_QUICKSTART:-$top/.quickstart}")
wait_seconds=120 # for a commit to be served; it needs a few

say() { printf '==> %s\n' "$*"; }
die() { printf 'pipeline: %s\n' "$*" >&2; exit 1; }
coordctl() { "$dir/coordctl" "$@"; }
git_here() { git -C "$dir/shop" -c user.name=Ada -c user.email=ada@example.org "$@"; }

[ -x "$dir/coordctl" ] || die "start examples/quickstart.sh first"
read -r registry <"$dir/registry.address"
read -r page port <"$dir/pipeline.addresses"

# --- a repository with a page, its test, and where it runs

write() { # FILE, text from standard input
    mkdir -p "$(dirname "$dir/shop/$1")"
    cat >"$dir/shop/$1"
}
if [ ! -d "$dir/shop" ]; then
    say "Making the repository $dir/shop"
    git init -q -b main "$dir/shop"
    write build.sh <<'S'
# "Compiles" the page: a build may do anything that its image can.
mkdir -p www
sed "s/@COMMIT@/$(echo "$COORD_COMMIT" | head -c 7)/" page.in >www/index.html
S
    write test.sh <<'S'
grep -q 'for sale' www/index.html || { echo 'the page sells nothing' >&2; exit 1; }
S
    write deploy/shop.toml <<T
image = "coord.internal/shop:latest"   # each run puts its own image here
hosts = ["role=web"]
network = "host"
T
fi

# --- the pipeline

mkdir -p "$dir/pipelines"
cat >"$dir/shop.pipeline" <<T
[source]
git = "git://127.0.0.1:$port/shop"
branch = "main"

[trigger]
poll = "5s"

[build]
image = "$registry/demo/web:1"
steps = ["sh build.sh"]

[test]
steps = ["sh test.sh"]

[package]
include = ["www/**"]

[image]
repository = "shop"
base = "$registry/demo/web:1"
target = "/srv"
entrypoint = ["httpd", "-f", "-p", "$page", "-h", "/srv/www"]

[deploy]
document = "deploy/shop.toml"
T
mv "$dir/shop.pipeline" "$dir/pipelines/shop.toml"

# --- commits; what follows each happens by itself

commit() { # SUBJECT WHAT-IS-SOLD
    write page.in <<<"$2 for sale, by commit @COMMIT@"
    git_here add -A
    git_here commit -q -m "$1"
    say "Committed: $1"
    local deadline=$((SECONDS + wait_seconds))
    until curl -sf "http://$page/" | grep -q "^$2 for sale"; do
        [ $SECONDS -lt $deadline ] || { coordctl pipeline show shop >&2 || true; die "waited in vain for the page"; }
        sleep 0.2
    done
    curl -sf "http://$page/"
}
commit "Begin to sell" Apples
commit "Sell something else" Pears
coordctl status

cat <<N

What to try next:
  $dir/coordctl pipeline show shop        each part of the run, and its time
  $dir/coordctl pipeline logs shop
  break test.sh in $dir/shop, commit, and look again: nothing changes on any host
N
