#!/usr/bin/env bash
# From a float network to int8 and back to proof, with the command line alone.
#
#   make demo                   installs and builds what this needs, then runs it
#   examples/demo.sh [SEED]     again, with another draw of photographs
#
# EfficientNet-Lite0 (ImageNet, BatchNorm unfolded) is calibrated on 64 photographs, quantized, run, and compared with
# the float network on all the others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly SEED=${1:-0} COUNT=64
readonly ZEROPOINT=${ZEROPOINT:-build/release/zeropoint}
readonly MODEL=build/models/efficientnet_lite0_bn.onnx PHOTOS=build/data/photos
readonly OUT=build/demo
readonly INT8=$OUT/efficientnet_lite0.int8.onnx STATISTICS=$OUT/statistics

for needed in "$ZEROPOINT" "$MODEL" "$PHOTOS/preprocess.json"; do
  [[ -e $needed ]] || { echo "demo: $needed is missing; run: make demo" >&2; exit 2; }
done

if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
run() { printf '$ %s\n' "zeropoint $*"; "$ZEROPOINT" "$@"; }
# value KEY FILE: the first number under KEY in a JSON file.
value() { tr ',{}' '\n' < "$2" | sed -n "s/^[[:space:]]*\"$1\":[[:space:]]*//p" | head -n 1; }

rm -rf "$OUT"
mkdir -p "$OUT"

step "1. The float network"
run inspect "$MODEL"

step "2. Calibrate on $COUNT photographs"
run calibrate "$MODEL" --data "$PHOTOS" --samples "$COUNT" --seed "$SEED" -o "$STATISTICS"

step "3. Quantize: weights and activations to 8 bits"
run quantize "$MODEL" --statistics "$STATISTICS" --recipe static_w8a8 --target zeropoint -o "$INT8"

step "4. Compare with float on the other photographs"
readonly OTHERS=(--data "$PHOTOS" --samples "$COUNT" --seed "$SEED" --others)
run compare "$MODEL" "$INT8" "${OTHERS[@]}" --report "$OUT/compare.json"

step "5. Time both, one thread, one picture"
for model in "$MODEL" "$INT8"; do
  run bench "$model" --threads 1 --report "$OUT/bench.$(basename "$model" .onnx).json"
done

float_bytes=$(stat -L -c %s "$MODEL") int8_bytes=$(stat -c %s "$INT8")
float_ms=$(value min_ms "$OUT/bench.efficientnet_lite0_bn.json")
int8_ms=$(value min_ms "$OUT/bench.efficientnet_lite0.int8.json")
agreement=$(value top1_agreement "$OUT/compare.json")
sqnr=$(value sqnr_db "$OUT/compare.json")

step "EfficientNet-Lite0, float and int8"
awk -v fb="$float_bytes" -v qb="$int8_bytes" -v fm="$float_ms" -v qm="$int8_ms" -v a="$agreement" -v s="$sqnr" 'BEGIN {
  printf "  %-30s %10s %10s\n", "", "float", "int8"
  printf "  %-30s %7.2f MB %7.2f MB   %.2fx smaller\n", "file", fb / 1e6, qb / 1e6, fb / qb
  printf "  %-30s %7.2f ms %7.2f ms   %.2fx faster\n", "one picture, one thread", fm, qm, fm / qm
  printf "  %-30s %10s %8.1f %%\n", "same top class as float", "", 100 * a
  printf "  %-30s %10s %7.1f dB\n", "signal to noise of the logits", "", s
}'
echo "  The int8 network: $INT8 (standard ONNX; ONNX Runtime and OpenVINO run it too)"
