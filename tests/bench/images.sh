#!/usr/bin/env bash
# Makes the images that `coord-bench pull` measures, from nothing but Debian's packages, as OCI layouts in a folder:
# each once with gzip (NAME) and once with zstd (NAME-zstd).
#
#   tests/bench/images.sh DIR    what is there already is kept; about ten minutes, 4 GB
#
#   debian     one layer: a small Debian, 9,500 entries
#   pyapp      six layers: Python, scientific and web libraries, an application; 53,000 entries
#   pyapp2     the same with one file of the application changed: what a redeploy is
#   manyfiles  four layers, 60,000 small files
#   bigfile    one file of 320 MB
#
# Needs root and what `tests/setup.sh bench` installs.
set -euo pipefail
[ $# = 1 ] || { echo "usage: tests/bench/images.sh DIR" >&2; exit 2; }
mkdir -p "$1"
out=$(readlink -f "$1")
work=$out/.work
mkdir -p "$work"
export CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot
cat >"$CONTAINERS_STORAGE_CONF" <<END
[storage]
driver = "overlay"
graphroot = "$work/store"
runroot = "$work/run"
END
SUITE=$(. /etc/os-release && echo "$VERSION_CODENAME")

say() { printf 'images: %s\n' "$*" >&2; }
have() { [ -e "$out/$1/index.json" ]; }
# A container's processes write to standard error only: standard output is for the container's name.
inside() { buildah run --network host "$1" -- sh -c "$2" >&2; }
add_packages() {
    inside "$1" "apt-get -qq update && apt-get -o APT::Sandbox::User=root -qq -y --no-install-recommends install $2 >/dev/null &&
        apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/debconf/*-old"
}
# Ends a layer: the container becomes an image, and its name is forgotten.
seal() { buildah commit -q --rm --format oci "$1" "localhost/$2" >/dev/null; }
# From the builder's store to a layout, under its name only when it is whole.
export_image() {
    rm -rf "$out/$1.part"
    skopeo copy -q --dest-oci-accept-uncompressed-layers=false "containers-storage:localhost/$1" "oci:$out/$1.part:latest"
    mv "$out/$1.part" "$out/$1"
}
built() { buildah inspect --type image "localhost/$1" >/dev/null 2>&1; }

make_debian() {
    if ! built debian; then
        [ -s "$work/debian.tar" ] || mmdebstrap -q --variant=minbase --mode=root --include=ca-certificates "$SUITE" "$work/debian.tar"
        local c
        c=$(buildah from scratch)
        buildah add -q "$c" "$work/debian.tar" / >/dev/null
        buildah config --cmd /bin/bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$c"
        seal "$c" debian
    fi
    have debian || export_image debian
}

make_pyapp() {
    local c
    if ! built pyapp; then
        c=$(buildah from localhost/debian); add_packages "$c" "python3 python3-venv python3-pip"; seal "$c" py1
        c=$(buildah from localhost/py1); add_packages "$c" "python3-numpy python3-scipy python3-pandas"; seal "$c" py2
        c=$(buildah from localhost/py2)
        add_packages "$c" "python3-django python3-flask python3-requests python3-sqlalchemy python3-boto3 gunicorn"
        seal "$c" py3
        c=$(buildah from localhost/py3)
        mkdir -p "$work/app"
        printf 'print("version 1")\n' >"$work/app/app.py"
        buildah copy -q "$c" "$work/app" /app >/dev/null
        seal "$c" py4
        c=$(buildah from localhost/py4)
        inside "$c" 'python3 -m compileall -q /usr/lib/python3/dist-packages/pandas /app >/dev/null 2>&1 || true; useradd -r app'
        buildah config --cmd '["python3", "/app/app.py"]' --user app --workingdir /app "$c"
        seal "$c" pyapp
    fi
    have pyapp || export_image pyapp
    have pyapp2 && return
    c=$(buildah from localhost/pyapp)
    printf 'print("version 2")\n' >"$work/app.py"
    buildah copy -q "$c" "$work/app.py" /app/app.py >/dev/null
    seal "$c" pyapp2
    export_image pyapp2
}

# Files of 100 bytes to 8 KB, as a dependency folder of a scripting language has them.
make_manyfiles() {
    have manyfiles && return
    local c layer
    c=$(buildah from scratch)
    for layer in 0 1 2 3; do
        rm -rf "$work/many"
        mkdir "$work/many"
        awk -v layer=$layer -v dir="$work/many" 'BEGIN {
            srand(layer + 1)
            for (d = 0; d < 150; d++) {
                folder = sprintf("%s/package-%d-%d", dir, layer, d)
                system("mkdir " folder)
                for (f = 0; f < 100; f++) {
                    file = sprintf("%s/module-%d.js", folder, f)
                    words = 10 + int(rand() * rand() * 800)
                    for (w = 0; w < words; w++) printf "%x ", int(rand() * 4294967296) > file
                    close(file)
                }
            }
        }'
        buildah copy -q "$c" "$work/many" /srv/modules >/dev/null
        seal "$c" many$layer
        c=$(buildah from localhost/many$layer)
    done
    buildah rm "$c" >/dev/null
    buildah tag localhost/many3 localhost/manyfiles
    export_image manyfiles
}

# Half random, half text that compresses well: what a model or a jar is to an inflater.
make_bigfile() {
    have bigfile && return
    local c
    mkdir -p "$work/big"
    { head -c 160000000 /dev/urandom; seq 1 19000000; } >"$work/big/model.bin"
    c=$(buildah from scratch)
    buildah copy -q "$c" "$work/big" /srv >/dev/null
    seal "$c" bigfile
    export_image bigfile
}

for name in debian pyapp manyfiles bigfile; do
    say "$name"
    "make_$name"
done
for name in debian pyapp pyapp2 manyfiles bigfile; do
    have $name-zstd && continue
    say "$name-zstd"
    rm -rf "$out/$name-zstd.part"
    skopeo copy -q --dest-compress-format zstd "oci:$out/$name:latest" "oci:$out/$name-zstd.part:latest"
    mv "$out/$name-zstd.part" "$out/$name-zstd"
done
# The builder's store mounts itself upon itself; nothing is to be left mounted.
umount "$work/store/overlay" 2>/dev/null || true
say "the images are in $out; $work holds only what speeds up the next call, and may go"
