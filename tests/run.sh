#!/usr/bin/env bash
# Every check of this project, in the order in which a mistake is cheapest to find.
#
#   tests/run.sh               all of them
#   tests/run.sh clippy unit   only these
#   tests/run.sh build it      the whole processes of `it` and `root` are those that `build` made last: name it before them
#
# A step that fails does not keep the later ones from running; the summary at the end names each. Run it as root:
# containers need it, and no test passes by skipping.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit
export PATH=$PATH:$HOME/.cargo/bin CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

TARGET=$(uname -m)-unknown-linux-musl
PROFILE=default
[ -z "${CI:-}" ] || PROFILE=ci
ALL="setup fmt scripts clippy build unit tidy it root licences quickstart"

nextest() { cargo nextest run --locked --workspace --profile $PROFILE --no-tests=fail "$@"; }

step_setup() { tests/setup.sh; }
step_fmt() { cargo fmt --all --check; }
step_scripts() {
    local script status=0
    for script in .ci/run $(git ls-files '*.sh'); do
        bash -n "$script" || status=1
        [ -x "$script" ] || { echo "$script may not be executed (chmod +x)"; status=1; }
    done
    # shellcheck disable=SC2046 # a list of words
    shellcheck -S warning .ci/run $(git ls-files '*.sh') || status=1
    return $status
}
step_clippy() { cargo clippy --locked --workspace --all-targets -- -D warnings; }
# The shim, the monitor and `coord` run inside containers' roots, so the tests use them as they ship: static.
step_build() {
    cargo build --locked --workspace &&
        cargo build --locked --release --target "$TARGET" -p coord-cli -p coord-shim -p coord-monitor -p coord-probe
}
step_unit() { nextest -E 'not (binary(tidy) or binary(it) or binary(root))'; }
step_tidy() { nextest -E 'binary(tidy)'; }
step_it() { nextest -E 'binary(it)'; }
step_root() { nextest -E 'binary(root)'; }
# The tidy rules hold the list of licences, too; cargo-deny adds advisories where it is installed.
step_licences() {
    if cargo deny --version >/dev/null 2>&1; then
        cargo deny --offline check licenses bans sources
    else
        echo "cargo-deny is not installed: only the tidy rules have looked at the licences"
    fi
}
step_quickstart() {
    local state status=0
    state=$(mktemp -d) || return 1
    COORD_QUICKSTART=$state/q examples/quickstart.sh start || status=1
    COORD_QUICKSTART=$state/q examples/pipeline.sh || status=1
    COORD_QUICKSTART=$state/q examples/quickstart.sh stop || status=1
    rmdir "$state" || { echo "quickstart left something behind: $(find "$state" | head)"; status=1; }
    return $status
}

[ "$(id -u)" = 0 ] || { echo "tests/run.sh: run it as root: the tests make namespaces, mounts and cgroups" >&2; exit 1; }
steps=${*:-$ALL}
for step in $steps; do
    declare -F "step_$step" >/dev/null || { echo "tests/run.sh: no step '$step'; there are: $ALL" >&2; exit 2; }
done

summary="" failed=0
for step in $steps; do
    printf '\n=== %s\n' "$step"
    start=$SECONDS
    if "step_$step" </dev/null; then verdict=ok; else verdict=FAILED failed=1; fi
    summary+=$(printf '%-11s %-7s %4d s' "$step" $verdict $((SECONDS - start)))$'\n'
    # Without the tools nothing else means anything.
    [ "$step $verdict" != "setup FAILED" ] || break
done
printf '\n=== summary, after %d s\n%s' $SECONDS "$summary"
exit $failed
