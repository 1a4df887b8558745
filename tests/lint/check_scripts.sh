#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Shell scripts pass shellcheck, Python files compile without a warning.
cd "$(dirname "$0")/../.." || exit 1
status=0
for file in $(git ls-files); do
	case $file in
	*.py) python3 -W error -c 'import pathlib, sys; compile(pathlib.Path(sys.argv[1]).read_text(), sys.argv[1], "exec")' "$file" || status=1 ;;
	*.sh) shellcheck "$file" || status=1 ;;
	*.* | tests/fuzz/corpus/*) ;;
	*)
		case $(head -n 1 "$file" | tr -d '\0') in
		'#!/bin/sh'* | '#!/bin/bash'* | '#!/usr/bin/env bash'*) shellcheck "$file" || status=1 ;;
		'#!/usr/bin/env python3'*)
			python3 -W error -c 'import pathlib, sys; compile(pathlib.Path(sys.argv[1]).read_text(), sys.argv[1], "exec")' "$file" || status=1
			;;
		esac
		;;
	esac
done
for file in quickstart .ci/run; do
	[ ! -e $file ] || shellcheck $file || status=1
done
exit $status
