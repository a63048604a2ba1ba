#!/usr/bin/env bash
# Installs what a Debian 12 machine lacks to build and test CoreGrad: Debian packages (needs root or
# sudo, only when something is missing) and a virtual environment in .venv. Running it again costs
# a fraction of a second.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
  clang-19 llvm-19-dev lld-19 clang-format-19 libclang-rt-19-dev ninja-build ccache make git
  libfmt-dev libspdlog-dev libgtest-dev libgmock-dev libbenchmark-dev nlohmann-json3-dev
  libcli11-dev libxxhash-dev libssl-dev librapidcheck-dev libzstd-dev zlib1g-dev graphviz
  python3-venv python3-dev
)
requirements=(
  torch numpy scikit-learn matplotlib tqdm rich
  pytest pytest-xdist hypothesis ruff expecttest safetensors
  nanobind scikit-build-core cmake ninja setuptools llvmlite
)
python=${COREGRAD_SETUP_PYTHON:-python3}
log=.venv/setup.log

say() { printf 'setup: %s\n' "$*"; }
run_logged() {  # quiet unless it fails
  if ! "$@" >>"$log" 2>&1; then
    tail -n 40 "$log" >&2
    say "failed: $* (whole log: $log)" >&2
    exit 1
  fi
}

mkdir -p .venv
missing=()
if command -v dpkg-query >/dev/null; then
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null || true)
  for package in "${packages[@]}"; do
    grep -qx "installed $package" <<<"$installed" || missing+=("$package")
  done
elif ! command -v clang++-19 >/dev/null; then
  say "this is not a Debian system and clang++-19 is not on PATH; install: ${packages[*]}" >&2
  exit 1
fi
if ((${#missing[@]})); then
  as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { say "missing packages and no root or sudo: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
  fi
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  run_logged "${as_root[@]}" apt-get update -q
  run_logged "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

stamp=.venv/setup.stamp
wanted=$(cat tools/setup.sh tools/constraints.txt | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || [ ! -x .venv/bin/python ]; then
  if [ ! -x .venv/bin/python ]; then
    say "creating .venv with $("$python" --version)"
    run_logged "$python" -m venv .venv
  fi
  say "installing Python packages (pinned in tools/constraints.txt; PyTorch takes a minute)"
  PIP_DISABLE_PIP_VERSION_CHECK=1 run_logged \
    .venv/bin/pip install -q -c tools/constraints.txt "${requirements[@]}"
  echo "$wanted" >"$stamp"
  say "done"
fi
