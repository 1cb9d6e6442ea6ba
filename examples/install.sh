#!/bin/sh
# Installs with apt-get (through sudo when not root) what building libammpl needs and this machine does not have.
#
#   sh examples/install.sh [PACKAGE ...]    packages beyond those of the build; one that cannot be had is no failure
#
# Exit status 1 and a sentence when something that the build needs could not be installed.
has() { command -v "$1" >/dev/null 2>&1; }
library() { has pkg-config && pkg-config --exists "$1"; }

missing=
has cc || missing="$missing gcc libc6-dev"
has meson || missing="$missing meson"
has ninja || missing="$missing ninja-build"
has pkg-config || missing="$missing pkg-config"
library libpng || missing="$missing libpng-dev"
library libjpeg || missing="$missing libjpeg-dev"
library libgif || missing="$missing libgif-dev"
library zlib || missing="$missing zlib1g-dev"
library jansson || missing="$missing libjansson-dev"
library libutf8proc || missing="$missing libutf8proc-dev"

wanted=
for package in "$@"; do
    has "${package%-nox}" || dpkg -s "$package" >/dev/null 2>&1 || wanted="$wanted $package"
done
[ "$missing$wanted" ] || exit 0

if ! has apt-get; then
    [ "$missing" ] || exit 0
    echo "there is no apt-get here; please install what these Debian packages hold:$missing" >&2
    exit 1
fi
as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null
}
echo "installing:$missing$wanted"
$as_root apt-get update -q >/dev/null 2>&1 # without a network what is in the cache may still do
# shellcheck disable=SC2086  # lists of packages
if [ "$missing" ] && ! apt $missing; then
    echo "apt-get could not install:$missing" >&2
    exit 1
fi
for package in $wanted; do
    apt "$package" || echo "apt-get could not install $package; going on without it"
done
