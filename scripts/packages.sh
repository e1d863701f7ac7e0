# shellcheck shell=bash
# What a Debian machine with nothing but the Rust toolchain lacks, for scripts to source that define
# `say`. Installing takes root or sudo.

# SQLite is compiled in and every program is linked, which takes a C compiler and its headers.
has_c_compiler() {
    echo '#include <stdio.h>' | cc -x c -fsyntax-only - 2>/dev/null
}

require_cargo() {
    if ! command -v cargo >/dev/null; then
        say "there is no cargo: install the Rust toolchain first, see https://rustup.rs"
        exit 2
    fi
}

# Runs a command as root; fails where that takes a password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

may_be_root() {
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null || { [ -t 0 ] && command -v sudo >/dev/null; }
}

# Packages start the servers in them, unless this file says no. One that is there already is the
# administrator's and stays.
service_policy=/usr/sbin/policy-rc.d
own_service_policy=no

keep_services_stopped() {
    if [ ! -e "$service_policy" ]; then
        own_service_policy=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$service_policy" >/dev/null
        as_root chmod 755 "$service_policy"
    fi
}

restore_services() {
    if [ "$own_service_policy" = yes ]; then
        as_root rm -f "$service_policy"
        own_service_policy=no
    fi
}

# install PACKAGE...: or names them, and other ways if there is a function `suggest_alternatives`.
install() {
    if ! command -v apt-get >/dev/null; then
        say "please install these first (Debian's names): $*"
    elif ! may_be_root; then
        say "please run first, as root: apt-get update && apt-get install $*"
    else
        say "installing $*"
        as_root apt-get update -qq </dev/null
        keep_services_stopped
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
        restore_services
        return
    fi
    ! declare -F suggest_alternatives >/dev/null || suggest_alternatives
    exit 2
}

# python_environment DIRECTORY REQUIREMENTS: makes one with what the file lists, anew where the file has
# changed.
python_environment() {
    local directory=$1 requirements=$2
    ! cmp -s "$requirements" "$directory/installed.txt" || return 0
    rm -rf "$directory"
    if ! python3 -m venv "$directory"; then
        install python3-venv
        python3 -m venv --clear "$directory"
    fi
    "$directory/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$directory/installed.txt"
}
