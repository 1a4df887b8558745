#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# C files look as .clang-format (version 14) says.
cd "$(dirname "$0")/../.." || exit 1
clang-format --version | grep -q 'version 14\.' || {
	echo "clang-format 14 (Debian 12) is needed: other versions format differently"
	exit 1
}
files=$(git ls-files '*.c' '*.h')
# shellcheck disable=SC2086 # a list of words
bad=$(clang-format --dry-run $files 2>&1 | grep -o '^[^ :]*:[0-9]*' | sort -t: -k1,1 -u)
[ -z "$bad" ] || {
	echo "not formatted (first line of each; run clang-format -i):"
	echo "$bad"
	exit 1
}
