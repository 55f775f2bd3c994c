#!/usr/bin/env bash
# kp track's network against Lightning Pose's: frames per CPU second of a ResNet-50 at 256 px, one thread each.
#   experiments/peers/lightning_pose.sh [FRAMES] [OUT]
# LP_PYTHON names a Python with lightning-pose, which is not a dependency of this project:
#   uv venv lp && uv pip install --python lp/bin/python lightning-pose
# Ours is B-KinD's ResNet-50 with its pose decoder, points, confidence and covariance included, by both engines. Theirs is
# the forward pass of HeatmapTracker, without its reading of the heatmaps. Weights are random, which does not change the
# speed. The two take turns, three times. Writes OUT/fps.txt.
set -euo pipefail

frames=${1:-16}
out=$(realpath -m "${2:-runs/peers/lightning_pose}")
here=$(cd "$(dirname "$0")/../.." && pwd)
ours=${KP_PYTHON:-$here/.venv/bin/python}
theirs=${LP_PYTHON:?a Python with lightning-pose}
export OMP_NUM_THREADS=1
mkdir -p "$out"
: >"$out/ours.txt"
: >"$out/theirs.txt"

for _ in 1 2 3; do
  "$theirs" - "$frames" >>"$out/theirs.txt" <<'PYTHON'
import statistics
import sys
import time

import torch
from lightning_pose.models.heatmap_tracker import HeatmapTracker

torch.set_num_threads(1)
frames = int(sys.argv[1])
model = HeatmapTracker(num_keypoints=10, backbone="resnet50", pretrained=False).eval()
images = torch.rand(frames, 3, 256, 256)
seconds = []
with torch.inference_mode():
    for _ in range(4):
        start = time.process_time()
        model(images)
        seconds.append(time.process_time() - start)
print(frames / statistics.median(seconds[1:]))
PYTHON
  "$ours" - "$frames" >>"$out/ours.txt" <<'PYTHON'
import os
import sys
from tempfile import TemporaryDirectory

import torch

from lightning_kp.bench.engine import engine_row, resnet50_method
from lightning_kp.runs.allocator import keep_freed_memory

torch.set_num_threads(1)
keep_freed_memory()
with TemporaryDirectory() as folder:
    os.environ["KP_CACHE_DIR"] = folder
    row = engine_row("ResNet-50", resnet50_method(), 256, int(sys.argv[1]), repeats=3)
print(row.ours, row.other)
PYTHON
done

"$ours" - "$out" <<'PYTHON' | tee "$out/fps.txt"
import statistics
import sys
from pathlib import Path

out = Path(sys.argv[1])
columns = list(zip(*(map(float, line.split()) for line in (out / "ours.txt").read_text().splitlines()), strict=True))
onnx, ours = (statistics.median(column) for column in columns)
theirs = statistics.median(map(float, (out / "theirs.txt").read_text().split()))
print("frames per CPU second, ResNet-50 at 256 px, one thread")
print(f"Lightning Pose             {theirs:6.2f}")
for name, value in (("kp track, engine torch", ours), ("kp track, engine onnx", onnx)):
    print(f"{name:27}{value:6.2f}   {value / theirs:.2f} of Lightning Pose")
PYTHON
