"""Longer videos of several scenes with gaps in which nothing happens: what moment search is measured with."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from mmretrieval.errors import ManifestError
from mmretrieval.toyworld.corpus import Row, in_parallel, manifest_row, scene_truth, write_rows, write_speech
from mmretrieval.toyworld.plan import TRIES, Clip, Said
from mmretrieval.toyworld.scene import FPS, FRAMES, LOOKS, Scene, draw_camera, draw_scene
from mmretrieval.toyworld.sentences import Caption, write_caption
from mmretrieval.toyworld.vocabulary import SETTINGS
from mmretrieval.toyworld.voices import SEEN_VOICES, UNSEEN_VOICES, Narration, draw_narration

SHORTEST, LONGEST = 20, 60
"""Seconds of a video."""


@dataclass(frozen=True)
class Shot:
    """A stretch of a video: a scene with its caption, or empty scenery without one."""

    scene: Scene
    caption: Caption | None = None
    narration: Narration | None = None


@dataclass(frozen=True)
class LongVideo:
    """A video of several shots."""

    id: str
    shots: tuple[Shot, ...]


def make_long(folder: Path, videos: list[LongVideo], workers: int | None, progress: bool) -> None:
    """Write long videos into ``folder/long``, and ``long.jsonl`` and ``long_truth.jsonl`` about them."""
    from tqdm import tqdm

    with closing(in_parallel(_make_video, [(video, folder) for video in videos], workers)) as made:
        bar = tqdm(made, total=len(videos), unit=" videos", desc="long videos", disable=not progress or None)
        truth = [row for rows in bar for row in rows]
    write_rows(
        folder / "long.jsonl",
        ({**manifest_row(row), "video_id": row["video_id"], "start": row["start"], "end": row["end"]} for row in truth),
    )
    write_rows(folder / "long_truth.jsonl", truth)


def plan_long(count: int, seed: int, clips: list[Clip]) -> list[LongVideo]:
    """Decide all long videos; no caption repeats one of the clips or fits a scene of another span."""
    known, said = Said(), Said()
    for clip in clips:
        known.add(clip.caption)
    return [_draw_video(seed, number, known, said) for number in range(count)]


def _draw_video(seed: int, number: int, known: Said, said: Said) -> LongVideo:
    rng = np.random.default_rng(np.random.SeedSequence([seed, number], spawn_key=(1,)))
    length = int(rng.integers(SHORTEST + 2, LONGEST - 12)) * FPS
    shots: list[Shot] = []
    filmed = 0
    while filmed < length:
        place = _draw_place(rng, known, said)
        shots += place
        filmed += sum(shot.scene.frames for shot in place)
    while filmed > LONGEST * FPS:  # the last place may have been a long one
        filmed -= shots.pop().scene.frames
    return LongVideo(f"long{number:06d}", tuple(shots))


def _draw_place(rng: np.random.Generator, known: Said, said: Said) -> list[Shot]:
    """Draw what happens in one place, filmed in one go: gap, scene, gap, perhaps scene, gap."""
    setting, look = list(SETTINGS)[int(rng.integers(len(SETTINGS)))], int(rng.integers(LOOKS))
    shots = [Shot(_empty(rng, setting))]
    for _ in range(int(rng.integers(1, 3))):
        shots += [_draw_shot(rng, setting, known, said), Shot(_empty(rng, setting))]
    camera = draw_camera(rng, sum(shot.scene.frames for shot in shots))
    light, cover = shots[1].scene.light, shots[1].scene.cover
    first, filmed = int(rng.integers(FRAMES)), []
    for shot in shots:
        at = sum(s.scene.frames for s in filmed)
        scene = replace(
            shot.scene,
            look=look,
            camera=camera[at : at + shot.scene.frames],
            light=light,
            cover=cover,
            first=first + at,
        )
        filmed.append(replace(shot, scene=scene))
    return filmed


def _empty(rng: np.random.Generator, setting: str) -> Scene:
    """Draw a gap of one to three seconds."""
    frames = int(rng.integers(FPS, 3 * FPS + 1))
    return Scene(setting, 0, (), "", ((0, 0),) * frames, (1.0, 1.0, 1.0), None, 0)


def _draw_shot(rng: np.random.Generator, setting: str, known: Said, said: Said) -> Shot:
    for _ in range(TRIES):
        scene = draw_scene(rng, int(rng.integers(FRAMES, 5 * FPS + 1)), setting)
        caption = write_caption(rng, scene)
        if known.repeats(caption) or said.confuses(caption) or caption.text in said.texts:
            continue
        said.add(caption)
        return Shot(scene, caption, draw_narration(rng, UNSEEN_VOICES if rng.random() < 0.5 else SEEN_VOICES))
    raise ManifestError("so many long videos need more different descriptions than there are; ask for fewer.")


def _make_video(task: tuple[LongVideo, Path]) -> list[Row]:
    """Write one long video and the speech of its spans; return a row of the truth per span."""
    from mmretrieval.toyworld.render import Film, render

    video, folder = task
    rows: list[Row] = []
    filmed = 0
    with Film(folder / f"long/{video.id}.mp4") as film:
        for shot in video.shots:
            frames, boxes = render(shot.scene)
            film.add(frames)
            start, filmed = filmed / FPS, filmed + len(frames)
            if shot.caption is None:
                continue
            name = f"{video.id}_{len(rows)}"
            rows.append(
                {
                    "id": name,
                    "split": "long",
                    "video": f"long/{video.id}.mp4",
                    "video_id": video.id,
                    "speech": f"speech/{name}.wav",
                    "text": shot.caption.text,
                    "start": start,
                    "end": filmed / FPS,
                    **scene_truth(shot.scene, boxes),
                    "mentions_setting": shot.caption.setting is not None,
                    "words": write_speech(folder / f"speech/{name}.wav", shot.caption.text, shot.narration),
                    "narration": asdict(shot.narration),
                }
            )
    return rows
