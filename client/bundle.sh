#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the static libavocado: all rooms in one object, in which only avo_* can be seen from outside.
# usage: bundle.sh CC OPTIONS OUTPUT WORK ARCHIVE...   CC is a command with its arguments, such as "ccache gcc"
set -eu
cc=$1 options=$2 output=$3 work=$4
shift 4
mkdir -p "$work"
# shellcheck disable=SC2086
$cc -r -nostdlib $options -o "$work/libavocado.o" -Wl,--whole-archive "$@" -Wl,--no-whole-archive
objcopy --wildcard --keep-global-symbol='avo_*' "$work/libavocado.o"
rm -f "$output"
ar rcsD "$output" "$work/libavocado.o"
