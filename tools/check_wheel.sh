#!/usr/bin/env bash
# Tests a wheel where nothing but NumPy is installed: hidden symbols, a smoke test, and living in one
# process with another LLVM (llvmlite), whichever is imported first.
set -euo pipefail
wheel=$(realpath "${1:?usage: tools/check_wheel.sh dist/coregrad-*.whl}")
tools=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

contents=$(python3 -m zipfile -l "$wheel")
for file in licenses/{LICENSE,NOTICE,THIRD_PARTY_NOTICES.txt} \
  coregrad/{py.typed,_core/__init__.pyi,_core/functional.pyi}; do
  if ! grep -q "$file" <<<"$contents"; then
    echo "check_wheel: $file is not in the wheel" >&2
    exit 1
  fi
done

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q -c "$tools/constraints.txt" numpy "$wheel"
cd "$work"

module=$(echo "$work"/venv/lib/python3*/site-packages/coregrad/*.so)
exported=$(nm -D --defined-only "$module" | awk '{print $3}')
if grep -qiE 'llvm|fmt|spdlog' <<<"$exported"; then
  echo "check_wheel: third-party symbols are visible in $(basename "$module"):" >&2
  grep -iE 'llvm|fmt|spdlog' <<<"$exported" | head >&2
  exit 1
fi
echo "check_wheel: $(basename "$wheel"), $(($(stat -c %s "$wheel") / 1024 / 1024)) MiB," \
  "module $(($(stat -c %s "$module") / 1024 / 1024)) MiB, $(wc -l <<<"$exported") exported symbols"
if readelf -S "$module" | grep -q '\.symtab'; then
  echo "check_wheel: the module is not stripped" >&2
  exit 1
fi
if readelf -d "$module" | grep -qE 'NEEDED.*(LLVM|fmt|spdlog)'; then
  echo "check_wheel: the module needs a shared LLVM, fmt or spdlog" >&2
  exit 1
fi

"$work/venv/bin/python" "$tools/wheel_smoke.py"
"$work/venv/bin/pip" install -q -c "$tools/constraints.txt" llvmlite
"$work/venv/bin/python" "$tools/wheel_smoke.py" --llvmlite first
"$work/venv/bin/python" "$tools/wheel_smoke.py" --llvmlite last
echo "check_wheel: passed"
