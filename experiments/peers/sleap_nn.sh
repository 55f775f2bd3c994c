#!/usr/bin/env bash
# DirectPose against SLEAP's own network (sleap-nn, bottom-up) with equal labelled frames, test frames and training time.
#   experiments/peers/sleap_nn.sh HONEYBEE SECONDS [OUT] [TRAIN_FRAMES]
# HONEYBEE contains honeybee_labels.npz. SLEAP_PYTHON names a Python with sleap-nn, which is not a dependency of this
# project: uv venv sleap && uv pip install --python sleap/bin/python sleap-nn torch
# The two train one after the other, with one thread each, for SECONDS of wall-clock time. Writes OUT/ap.txt.
set -euo pipefail

data=$(realpath "${1:?folder of honeybee_labels.npz}")
seconds=${2:?seconds of training}
out=$(realpath -m "${3:-runs/peers/sleap_nn}")
frames=${4:-25}
here=$(cd "$(dirname "$0")/../.." && pwd)
ours=${KP_PYTHON:-$here/.venv/bin/python}
theirs=${SLEAP_PYTHON:?a Python with sleap-nn}
sleap=$(dirname "$theirs")/sleap-nn
export OMP_NUM_THREADS=1
mkdir -p "$out"

# Write the training frames that DirectPose draws with seed 0, and the test frames, as SLEAP files.
"$ours" - "$data" "$out" "$frames" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import sleap_io as sio

from lightning_kp.labels.datasets import divide_groups
from lightning_kp.labels.opening import open_labels

data, out, frames = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for part, name in (("train", "train"), ("validation", "test")):
    labels = open_labels(f"{data / 'honeybee_labels.npz'}#{part}")
    rows = divide_groups(len(labels.frames), 0, 0, frames, 0)[0] if part == "train" else range(len(labels.frames))
    skeleton = sio.Skeleton(list(labels.names), edges=[("Tail", "Thorax"), ("Thorax", "Head"), ("Head", "RAnt"), ("Head", "LAnt")])
    made = []
    for row in rows:
        frame = labels.frames[row]
        found = [path for path in (data / frame.name, data / "images" / frame.name) if path.is_file()]
        video = sio.Video.from_filename([str(found[0])])
        animals = [sio.Instance.from_numpy(np.asarray(points), skeleton=skeleton) for points in frame.points_px]
        made.append(sio.LabeledFrame(video=video, frame_idx=0, instances=animals))
    sio.Labels(labeled_frames=made, skeletons=[skeleton]).save(str(out / f"{name}.pkg.slp"), embed=True, verbose=False)
PYTHON

# SLEAP: its own configuration for these labels, on images with about as many pixels as DirectPose's (192 x 108). Peaks
# and affinity fields are scaled with the image, rotations of any angle are learnt, epochs are short so that a checkpoint
# exists, and there is no early stopping. The clock starts with the training.
size=${KP_SIZE:-160}
scale=${SLEAP_SCALE:-0.15}
"$sleap" config "$out/train.pkg.slp" --auto --pipeline bottomup -o "$out/sleap.yaml" >"$out/sleap_config.log" 2>&1
rm -rf "$out/sleap" "$out/directpose"
: >"$out/sleap_train.log"
"$sleap" train "$out/sleap.yaml" \
  "data_config.train_labels_path=[$out/train.pkg.slp]" "data_config.val_labels_path=[$out/train.pkg.slp]" \
  data_config.preprocessing.scale="$scale" trainer_config.ckpt_dir="$out" trainer_config.run_name=sleap \
  data_config.augmentation_config.geometric.rotation_min=-180 \
  data_config.augmentation_config.geometric.rotation_max=180 \
  model_config.head_configs.bottomup.confmaps.sigma="${SLEAP_SIGMA:-1.5}" \
  model_config.head_configs.bottomup.pafs.sigma="${SLEAP_PAF_SIGMA:-4}" \
  trainer_config.optimizer.lr="${SLEAP_RATE:-0.001}" trainer_config.min_train_steps_per_epoch=50 \
  trainer_config.early_stopping.stop_training_on_plateau=false \
  trainer_config.visualize_preds_during_training=false trainer_config.enable_progress_bar=false \
  trainer_config.max_epochs=100000 trainer_config.save_ckpt=true trainer_config.trainer_accelerator=cpu \
  trainer_config.train_data_loader.num_workers=0 trainer_config.val_data_loader.num_workers=0 \
  >"$out/sleap_train.log" 2>&1 &
training=$!
until grep -q "Starting training loop" "$out/sleap_train.log"; do
  kill -0 "$training" || { tail "$out/sleap_train.log" >&2; exit 1; }
  sleep 0.2
done
sleep "$seconds"
kill "$training"
wait "$training" || true
"$sleap" predict -i "$out/test.pkg.slp" -m "$out/sleap" -o "$out/sleap_found.slp" --device cpu --max_instances 30 \
  >"$out/sleap_predict.log" 2>&1

# DirectPose: the experiment with a constant learning rate, stopped by the clock.
"$ours" -m lightning_kp fit --config "$here/experiments/directpose_honeybee.yaml" --data.root="$data" \
  --data.train_frames="$frames" --data.size="$size" --trainer.max_epochs=100000 --trainer.max_time="$(printf '00:%02d:%02d:%02d' \
  $((seconds / 3600)) $((seconds / 60 % 60)) $((seconds % 60)))" --trainer.limit_val_batches=0 \
  --trainer.accelerator=cpu --trainer.enable_progress_bar=false --trainer.enable_model_summary=false \
  --model.scheduler=torch.optim.lr_scheduler.ConstantLR --model.scheduler.factor=1 \
  --trainer.default_root_dir="$out/directpose" >"$out/directpose.log" 2>&1

# Score both with the same evaluator, in pixels of the original images.
"$ours" - "$data" "$out" "$seconds" <<'PYTHON' | tee "$out/ap.txt"
import sys
from pathlib import Path

import numpy as np
import sleap_io as sio
import torch

from lightning_kp.checkpoints import data_settings, find_checkpoint, load_method
from lightning_kp.batches import floats_in_unit_range
from lightning_kp.datamodules import LabelledGroups
from lightning_kp.geometry import normalise
from lightning_kp.keypoints import Keypoints, from_missing
from lightning_kp.metrics.oks import OKSAveragePrecision

data, out = Path(sys.argv[1]), Path(sys.argv[2])
size = (720, 1280)


def padded(rows, width):
    most = max([len(row) for row in rows] + [1])
    values = np.full((len(rows), most, width, 2), np.nan)
    for number, row in enumerate(rows):
        if len(row):
            values[number, : len(row)] = row
    return torch.from_numpy(values)


def print_scores(name, pairs):
    """Print average precision with the paper's sigma, which measures detection, and with stricter ones for keypoints."""
    shown = []
    for sigma in (1.0, 0.3, 0.1):
        metric = OKSAveragePrecision(sigma, parts, at_most=30)
        for found, wanted in pairs:
            metric.update(found, wanted, size=size)
        shown.append(f"sigma {sigma}: AP {metric.compute()['AP'].item():.3f}")
    print(f"{name:20}{'  '.join(shown)}")


test = sio.load_file(str(out / "test.pkg.slp"))
wanted_px = [np.stack([animal.numpy() for animal in frame.instances]) for frame in test.labeled_frames]
parts = wanted_px[0].shape[1]
wanted = from_missing(normalise(padded(wanted_px, parts), size))
found = sio.load_file(str(out / "sleap_found.slp"))
by_image = [[] for _ in test.labeled_frames]
for frame in found.labeled_frames:
    by_image[found.videos.index(frame.video)] = frame.instances
points = from_missing(normalise(padded([[a.numpy() for a in animals] for animals in by_image], parts), size))
scores = torch.zeros(points.confidence.shape)
for image, animals in enumerate(by_image):
    for number, animal in enumerate(animals):
        scores[image, number] = float(animal.score)
theirs = Keypoints(points.points, points.confidence * scores.clamp(1e-6, None))

method = load_method(find_checkpoint(out / "directpose")).eval()
known = data_settings(find_checkpoint(out / "directpose"))
module = LabelledGroups("honeybee_labels.npz#train", "honeybee_labels.npz#validation", root=str(data), size=known["size"], fit=known["fit"])
module.setup()
with torch.inference_mode():
    each = [(method(floats_in_unit_range(b.image)), Keypoints(b.points, b.confidence)) for b in module.test_dataloader()]
print(f"{sys.argv[3]} s of training each")
print_scores("sleap-nn bottom-up", [(theirs, wanted)])
print_scores("DirectPose", each)
PYTHON
