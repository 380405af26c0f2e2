"""From a modality's section of a recipe or of a saved model to its encoder and the preprocessing that goes with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmretrieval.encoders import create_encoder
from mmretrieval.errors import ModelError
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.types import ClipSpec, Encoder, SpeechSpec, TextSpec

PRETRAINED = "pretrained"
"""The encoder or backbone whose network, weights and preprocessing come from a transformers model."""


def build_encoder(modality: str, section: dict[str, Any], tokenizer: Tokenizer | None = None) -> Encoder:
    """Build the encoder of a modality.

    What the section leaves open is filled in, and what is needed to build a pretrained encoder without its source.

    Args:
        modality: ``video``, ``speech`` or ``text``.
        section: Its settings in plain values; changed in place.
        tokenizer: The vocabulary of captions, where they are encoded by one that is not pretrained.

    Raises:
        ModelError: Text without a vocabulary, or pretrained weights that cannot be read or do not fit.
        UnknownNameError: No encoder or backbone of that name, or an option that it does not have.
    """
    return _BUILDERS[modality](section, tokenizer)


def is_pretrained(section: dict[str, Any] | None) -> bool:
    """Return whether the encoder of a modality comes from a transformers model."""
    return section is not None and (section.get("encoder") or section["backbone"])["name"] == PRETRAINED


def clip_spec(section: dict[str, Any], encoder: Encoder) -> ClipSpec:
    """Return what a video encoder expects of a clip."""
    chosen = {key: section[key] for key in ("sampling", "stride", "per_group") if key in section}
    crop = encoder.spec.crop if section.get("crop") is None else section["crop"]
    return replace(encoder.spec, fps=section["fps"], crop=crop, **chosen)


def speech_spec(section: dict[str, Any], encoder: Encoder) -> SpeechSpec:
    """Return what recordings are turned into before a speech encoder hears them."""
    if is_pretrained(section):
        return replace(encoder.spec, crop_seconds=section.get("crop_seconds"))
    lengths = {"max_seconds": section["max_seconds"], "crop_seconds": section.get("crop_seconds")}
    return SpeechSpec(mels=section["mels"], **lengths)


def text_spec(section: dict[str, Any], encoder: Encoder) -> TextSpec:
    """Return how captions are cut for a text encoder."""
    return encoder.spec if is_pretrained(section) else TextSpec(section["max_tokens"])


def _build_video(section: dict, tokenizer: Tokenizer | None) -> Encoder:
    backbone = section["backbone"]
    if is_pretrained(section):
        encoder = _pretrained("video", backbone, frames=section["frames"], size=section["size"])
        section |= {"frames": encoder.spec.frames, "size": encoder.spec.size}
        return encoder
    _fill_in(section, frames=8, size=64)
    arguments = {key: value for key, value in backbone.items() if key != "name"}
    sizes = {"frames": section["frames"], "size": section["size"]}
    return create_encoder("video", backbone=backbone["name"], **sizes, **arguments)


def _build_speech(section: dict, tokenizer: Tokenizer | None) -> Encoder:
    if is_pretrained(section):
        return _pretrained("speech", section["encoder"], max_seconds=section["max_seconds"])
    _fill_in(section, mels=40)
    arguments = dict(section["encoder"])
    return create_encoder(arguments.pop("name"), mels=section["mels"], **arguments)


def _build_text(section: dict, tokenizer: Tokenizer | None) -> Encoder:
    arguments = dict(section["encoder"])
    brings_its_own = is_pretrained(section) and "architecture" not in arguments
    if tokenizer is None and not brings_its_own:
        raise ModelError("a model with text needs its sub-word vocabulary: tokenizer.json is missing")
    if is_pretrained(section):
        encoder = _pretrained("text", section["encoder"], max_tokens=section["max_tokens"])
        section["max_tokens"] = encoder.spec.max_tokens
        return encoder
    _fill_in(section, max_tokens=64)
    name = arguments.pop("name")
    return create_encoder(name, vocab_size=tokenizer.size, max_tokens=section["max_tokens"], **arguments)


_BUILDERS = {"video": _build_video, "speech": _build_speech, "text": _build_text}


def _pretrained(modality: str, settings: dict, **options: Any) -> Encoder:
    """Build a pretrained encoder and put down in its ``settings`` what is needed to do so without its source."""
    arguments = {key: value for key, value in settings.items() if key != "name"}
    encoder = create_encoder(PRETRAINED, modality=modality, **arguments, **options)
    settings |= encoder.remembered
    return encoder


def _fill_in(section: dict, **usual: int) -> None:
    """Put the usual numbers where a section leaves them open: only pretrained weights know better."""
    section |= {key: value for key, value in usual.items() if section.get(key) is None}
