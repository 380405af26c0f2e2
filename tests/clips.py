"""A world of a few hundred bytes a clip: real MP4 and WAV files whose colour, pitch and words belong together."""

import json
from pathlib import Path

import av
import numpy as np
import soundfile

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "white": (240, 240, 240)}
THINGS = ("ball", "box", "star")


def write_video(path: Path, colour: tuple[int, int, int], place: int, frames: int = 12) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "18", "threads": "1"}
        for step in range(frames):
            picture = np.full((32, 32, 3), 20, np.uint8)
            top = 2 + (8 * place + step) % 18
            picture[top : top + 12, 4 + 6 * place : 16 + 6 * place] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_speech(path: Path, colour: int, thing: int, seconds: float = 0.5) -> None:
    time = np.arange(int(16_000 * seconds)) / 16_000
    tone = np.sin(2 * np.pi * (200 + 150 * colour) * time) * (time < seconds / 2)
    tone += np.sin(2 * np.pi * (1200 + 500 * thing) * time) * (time >= seconds / 2)
    soundfile.write(path, (0.3 * tone).astype(np.float32), 16_000)


def write_world(folder: Path, clips: int = 24) -> Path:
    """Write ``clips`` clips and manifests train.jsonl and val.jsonl (a quarter); return the folder."""
    (folder / "videos").mkdir(parents=True)
    (folder / "speech").mkdir()
    rows = []
    for number in range(clips):
        colour, thing = number % len(COLOURS), number // len(COLOURS) % len(THINGS)
        name = list(COLOURS)[colour]
        write_video(folder / f"videos/{number}.mp4", COLOURS[name], thing)
        write_speech(folder / f"speech/{number}.wav", colour, thing)
        row = {"id": f"clip-{number}", "video": f"videos/{number}.mp4", "speech": f"speech/{number}.wav"}
        rows.append(row | {"text": f"a {name} {THINGS[thing]} moves down", "video_id": f"video-{number}"})
    held_out = clips // 4
    for split, part in (("train", rows[held_out:]), ("val", rows[:held_out])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder


RECIPE = """\
output: {out}
data:
  train: {world}/train.jsonl
  val: {world}/val.jsonl
  workers: 0
model:
  dim: 32
  dropout: 0.1
  video: {{backbone: {{name: tsm_resnet_test}}, frames: 4, size: 16}}
  speech: {{encoder: {{name: resdavenet_small, widths: [8, 8, 16]}}}}
  text: {{encoder: {{name: text_transformer, dim: 16, depth: 1, heads: 2}}, vocab_size: 128, max_tokens: 24}}
  codebook: {{size: 16, dim: 16, revive_after: 4}}
objective:
  amm: {{weight: 1.0}}
  cmcm: {{weight: 0.1}}
  commitment: {{weight: 0.01}}
training:
  epochs: 3
  batch_size: 6
  lr: 0.003
  precision: fp32
  codebook_start: 0.3
"""


def write_recipe(folder: Path, world: Path, out: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(world=world, out=out))
    return path
