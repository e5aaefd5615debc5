#!/usr/bin/env bash
# The C tests, and if asked the Swift tests, with the library built under a sanitizer:
#   Tests/CTests/sanitize.sh address|thread [--swift]
# AddressSanitizer: every test. ThreadSanitizer: those with threads.
set -euo pipefail
cd "$(dirname "$0")/../.."
sanitizer=$1
scratch=.build-$sanitizer
swift build -c release --product segloss --scratch-path "$scratch" --sanitize "$sanitizer"
library=$PWD/$scratch/release
ln -sf libsegloss.so "$library/libsegloss.so.0"
if [ "$sanitizer" = thread ]; then
  # Swift's runtime of ThreadSanitizer knows libdispatch, and so wants it.
  swift=$(dirname "$(dirname "$(readlink -f "$(command -v swiftc)")")")/lib/swift/linux
  tests="concurrent" flags="-DWITHOUT_FORKS -L$swift -ldispatch -lBlocksRuntime -Wl,-rpath,$swift"
else
  tests="both_forms hostile concurrent" flags=
fi
export TSAN_OPTIONS="halt_on_error=1"
# libFuzzer and valgrind look for leaks; hostile asks for more memory than there is.
export ASAN_OPTIONS="detect_leaks=0 allocator_may_return_null=1"
for name in $tests; do
  clang -std=c99 -g -O1 -DSANITIZED -fsanitize="$sanitizer" -fuse-ld=lld -Iinclude "Tests/CTests/$name.c" \
    -o "$scratch/$name" -L"$library" -lsegloss -Wl,-rpath,"$library" $flags -lm -lpthread
  "$scratch/$name"
done
if [ "${2:-}" = --swift ]; then swift test --sanitize "$sanitizer" --scratch-path "$scratch"; fi
