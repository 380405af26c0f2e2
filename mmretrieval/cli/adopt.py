"""``mmretrieval adopt`` and ``mmretrieval transcribe``: published models put to use without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmretrieval.shown import one_line


def adopt(
    source: Annotated[str, typer.Argument(help="A dual encoder: a hub name, or a folder of transformers.")],
    out: Annotated[Path, typer.Option(help="Folder of the new model; must be new or empty.")],
    frames: Annotated[int | None, typer.Option(min=1, help="Frames looked at per moment; 8 if not given.")] = None,
) -> None:
    """Make a model of CLIP, SigLIP, Chinese-CLIP, AltCLIP or X-CLIP, ready to index and search without training.

    The folder is complete: the hub is asked once, here, and never again.

    Example:
      mmretrieval adopt openai/clip-vit-base-patch32 --out models/clip
      mmretrieval index build indexes/holidays --model models/clip ~/Videos
      mmretrieval search indexes/holidays "a dog jumps into the water"
    """
    from mmretrieval.errors import ModelError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out} already exists: choose another folder, or remove it first")
    from mmretrieval.zero_shot import adopt as make

    model = make(source, frames)
    model.save_pretrained(out)
    clip = model.processor.clip_spec
    typer.echo(f"{out}: {clip.frames} frames of {clip.size} pixels per moment, embeddings of {model.dim} numbers")
    typer.echo(f"Search your videos with it: mmretrieval index build indexes/mine --model {out} VIDEOS…")


def transcribe(
    manifest: Annotated[Path, typer.Argument(help="A manifest (JSON lines) of clips with spoken captions.")],
    model: Annotated[str, typer.Option(help="A Whisper: a hub name, e.g. openai/whisper-base, or a folder.")],
    out: Annotated[Path, typer.Option(help="The new manifest: its typed captions are what was heard.")],
    language: Annotated[str | None, typer.Option(help="What is spoken, e.g. en; found out if not given.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Recordings written down at a time.")] = 8,
) -> None:
    """Write down the spoken captions of a manifest: the baseline of searching by transcript.

    Evaluate it as text: text_to_video is then what speech reaches by way of its transcript.

    Example:
      mmretrieval transcribe toyworld/test.jsonl --model openai/whisper-base --out heard.jsonl
      mmretrieval evaluate runs/demo/model heard.jsonl
    """
    from tqdm import tqdm

    from mmretrieval.data.manifest import read_manifest, write_manifest
    from mmretrieval.errors import ManifestError
    from mmretrieval.search.transcribe import Transcriber, transcribe_samples

    samples = read_manifest(manifest, on_bad="skip").samples
    transcriber = Transcriber(model, language)
    with tqdm(total=len(samples), desc="writing down", unit="caption", disable=None) as bar:
        kept, aside = transcribe_samples(samples, transcriber, batch_size, bar.update)
    if not kept:
        raise ManifestError(f"{manifest}: not one spoken caption could be written down; the first: {aside[0][1]}")
    write_manifest(out, kept)
    typer.echo(f"{out}: {len(kept)} captions as they were heard, {len(aside)} set aside")
    for name, reason in aside:
        typer.echo(one_line(f"set aside: {name}: {reason}"), err=True)
