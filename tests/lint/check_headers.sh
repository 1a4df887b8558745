#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every header compiles alone: the installed ones as C99 and as C++, the private ones as gnu11.
set -u
cd "$(dirname "$0")/../.." || exit 1
status=0
warn="-Wall -Wextra -Werror -fsyntax-only -Istore -Ifetch -Imaterialize -I."
for header in $(git ls-files '*/varve-*.h'); do
	# shellcheck disable=SC2086 # a list of words
	echo "#include \"$header\"" | cc -x c -std=c99 -pedantic $warn - || status=1
	# shellcheck disable=SC2086
	echo "#include \"$header\"" | c++ -x c++ -std=c++11 -pedantic $warn - || status=1
	case $(head -c 300 "$header") in *SPDX-License-Identifier*) ;; *) echo "$header: no SPDX line"; status=1 ;; esac
done
for header in $(git ls-files 'store/*.h' 'fetch/*.h' 'materialize/*.h' 'cli/*.h'); do
	# shellcheck disable=SC2086
	echo "#include \"$header\"" | cc -x c -std=gnu11 -D_GNU_SOURCE -DHAVE_ISAL=1 -DHAVE_SQUASHFS=1 $warn - || status=1
done
exit $status
