# Installs what the other scripts need and this machine lacks. Sourced, not run.
# Debian and its relatives; elsewhere it says what is missing.

# need COMMAND PACKAGE ...: the packages of the commands that are not there.
missing=()
need() {
    command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

# install: gets what `need` has found missing.
install_missing() {
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing: ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        echo "this is not Debian; please install by hand: ${missing[*]}" >&2
        exit 2
    fi
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        as_root=(sudo)
        command -v sudo >/dev/null || { echo "run this once as root: apt-get install ${missing[*]}" >&2; exit 2; }
    fi
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq "${missing[@]}" >/dev/null
    missing=()
}

# fuse_ready: the device, open to every user as on any desktop. (Containers start without udev, which does so.)
fuse_ready() {
    if [ ! -e /dev/fuse ]; then
        echo "/dev/fuse is missing: load the kernel module (modprobe fuse), or give the container the device" >&2
        exit 2
    fi
    if [ "$(id -u)" = 0 ] && [ "$(stat -c %a /dev/fuse)" != 666 ]; then
        chmod 666 /dev/fuse
    fi
}

need cc gcc
need fusermount3 fuse3
command -v cargo >/dev/null || {
    echo "Rust is missing: install rustc and cargo 1.90 or later (https://rustup.rs)" >&2
    exit 2
}
