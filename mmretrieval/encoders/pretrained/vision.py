"""Pretrained image and video models as video encoders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmretrieval.encoders.pretrained.adapter import (
    Adapter,
    check_choice,
    check_complete,
    check_layer,
    keep_only,
    one_vector,
    open_network,
    pooled,
    unsupported,
)
from mmretrieval.encoders.pretrained.pixels import clip_spec
from mmretrieval.encoders.pretrained.source import read_architecture, read_image_preprocessing
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import expand, zero_padding
from mmretrieval.media.transforms import normalize
from mmretrieval.types import ClipSpec, Features, Padded

IMAGE_HALVES = ("altclip", "chinese_clip", "clip", "siglip")
"""Dual encoders of images and text, of which the image half is taken."""

IMAGE_ALONE = (
    *("chinese_clip_vision_model", "clip_vision_model", "siglip_vision_model"),
    *("deit", "dinov2", "dinov2_with_registers", "vit"),
)

CLIP_WISE = ("timesformer", "videomae", "vivit", "xclip")
"""Networks that look at all frames of a clip together and know only clips of one length."""

FAMILIES = (*IMAGE_HALVES, *IMAGE_ALONE, *CLIP_WISE)

_POOLED = ("chinese_clip_vision_model", "clip_vision_model", "siglip_vision_model")
"""Image halves whose own pooled output is their embedding; elsewhere it is the class token's output."""

_CLASS_NORM = ("altclip", "chinese_clip", "chinese_clip_vision_model", "clip", "clip_vision_model", "xclip")
"""Families whose last normalisation is the class token's alone."""

_RESIZABLE = ("dinov2", "dinov2_with_registers")
"""Families that were made to look at images of any size."""


class PretrainedVideo(Adapter):
    """Frames through an image or video model of transformers.

    Image models see each frame by itself; frames that are padding are not looked at. Video models (``CLIP_WISE``) know
    no masks and clips of one length only: a shorter clip stays on its last frame, as a short file does when it is read,
    and the features of those repeated frames are masked.

    Args:
        network: What the features come out of.
        family: Its ``model_type``.
        inner: The configuration of the image or video network.
        output: ``patches`` or ``embedding``.
        spec: The clips it expects.
        feature_dim: Width of the features, D.
        frozen: Never train it.
        layer: Which hidden states; None is the network's output.
        remembered: What a saved model keeps of it.
    """

    modality = "video"

    def __init__(
        self,
        network: nn.Module,
        family: str,
        inner: dict[str, Any],
        output: str,
        spec: ClipSpec,
        feature_dim: int,
        frozen: bool,
        layer: int | None,
        remembered: dict[str, Any],
    ):
        super().__init__(network, frozen, layer, remembered)
        self.family, self.output, self.spec, self.feature_dim = family, output, spec, feature_dim
        self.tubelet, patch = _patch(family, inner)
        self.side = spec.size // patch

    def encode(self, frames: Padded) -> Features:
        """Frames (B, T, 3, H, W), uint8 from 0 to 255 or floats from 0 to 1, to features.

        Returns:
            ``patches``: (B, T'·h·w, D) with the grid (T', h, w), class tokens left out; T' is T, or less where a patch
            spans several frames. ``embedding``: one position per frame, or per clip for video models.

        Raises:
            ModelError: More frames than a video model knows.
        """
        values = normalize(frames.values, self.spec.mean, self.spec.std)
        if self.family in CLIP_WISE:
            return self._clips(_whole_clips(values, frames.mask, self.spec.frames), frames.mask)
        return self._images(values, frames.mask)

    def _images(self, values: Tensor, mask: Tensor) -> Features:
        images = values[mask]
        if self.output == "embedding":
            vectors = self._embedding(images).unsqueeze(1)
        else:
            vectors = self.hidden(pixel_values=images)[:, -(self.side**2) :]
        places = vectors.shape[1]
        features = vectors.new_zeros(*mask.shape, *vectors.shape[1:])
        features[mask] = vectors
        height = 1 if self.output == "embedding" else self.side
        return Features(features.flatten(1, 2), mask.repeat_interleave(places, 1), (mask.shape[1], height, height))

    def _clips(self, clips: Tensor, mask: Tensor) -> Features:
        if self.output == "embedding":
            return one_vector(self._embedding(clips), mask.any(dim=1), (1, 1, 1))
        steps = clips.shape[1] // self.tubelet
        shape = (steps, self.side, self.side)
        if self.family == "xclip":
            values = self.hidden(pixel_values=clips.flatten(0, 1))[:, 1:]
            values = values.unflatten(0, (len(clips), steps)).flatten(1, 2)
        else:
            values = self.hidden(pixel_values=clips)[:, -steps * self.side**2 :]
        if self.family == "timesformer":  # its tokens run over time first, then over places
            values = values.unflatten(1, (self.side**2, steps)).transpose(1, 2).flatten(1, 2)
        real = F.pad(mask, (0, self.spec.frames - mask.shape[1])).unflatten(1, (steps, self.tubelet)).any(dim=2)
        last = -(-mask.shape[1] // self.tubelet)  # a clip of fewer frames gives fewer features
        real, values = real[:, :last].repeat_interleave(self.side**2, 1), values[:, : last * self.side**2]
        return Features(zero_padding(values, real), real, (last, *shape[1:]))

    def _embedding(self, images: Tensor) -> Tensor:
        """Return the published embedding of images (n, 3, H, W) or clips (B, T, 3, H, W), one vector each."""
        if self.family == "xclip":
            return F.normalize(pooled(self.network.get_video_features(pixel_values=images)), dim=-1)
        if self.family in IMAGE_HALVES:
            return F.normalize(pooled(self.network.get_image_features(pixel_values=images)), dim=-1)
        if self.family in _POOLED:
            return F.normalize(pooled(self.network(pixel_values=images)), dim=-1)
        return self.hidden(pixel_values=images)[:, 0]


def pretrained_video(
    source: str | None = None,
    frozen: bool = True,
    output: str = "patches",
    layer: int | None = None,
    frames: int | None = None,
    size: int | None = None,
    architecture: dict[str, Any] | None = None,
    preprocessing: dict[str, Any] | None = None,
) -> PretrainedVideo:
    """Make a video encoder of an image or video model.

    Args:
        source: Hub name or folder.
        frozen: Never train it.
        output: ``patches``: a feature per place and time. ``embedding``: as published, one per frame of an image model
            or one per clip of a video model; of unit length and projected where it is one half of a dual encoder.
        layer: Which hidden states; None is the network's output.
        frames: Frames per clip, T; None is 8, or what a video model expects.
        size: Height and width of a frame; None is what the weights expect.
        architecture: What a saved model remembers of the network: it is then built without the source.
        preprocessing: What a saved model remembers of mean, standard deviation and resizing.

    Raises:
        ModelError: The source cannot be read, is no image or video model, or an option does not fit it.
    """
    fresh = architecture is None
    architecture = read_architecture(source) if fresh else architecture
    family, inner = _checked(source, architecture, output, layer)
    spec = clip_spec(source, read_image_preprocessing(source)) if fresh else ClipSpec(**_tuples(preprocessing))
    preprocessing = {"size": spec.size, "mean": list(spec.mean), "std": list(spec.std)}
    preprocessing |= {"resize": spec.resize, "crop": spec.crop, "resample": spec.resample}
    side = _size(source, family, inner, spec.size, size)
    spec = replace(spec, frames=_frames(source, family, inner, frames), size=side)
    whole, missing = open_network(source if fresh else None, architecture)
    encoder = PretrainedVideo(
        _part(whole, family, output),
        family,
        inner,
        output,
        spec,
        _width(whole, family, inner, output),
        frozen,
        layer,
        {"architecture": architecture, "preprocessing": preprocessing},
    )
    check_complete(source, encoder, missing, whole)
    return encoder


def _checked(
    source: str | None, architecture: dict[str, Any], output: str, layer: int | None
) -> tuple[str, dict[str, Any]]:
    """Return the family and the configuration of the image or video network, once the options fit it."""
    family = architecture["model_type"]
    if family not in FAMILIES:
        raise unsupported(source, family, "video", FAMILIES)
    inner = architecture["vision_config"] if family in (*IMAGE_HALVES, "xclip") else architecture
    check_choice("output", output, ("patches", "embedding"))
    if output == "embedding" and family == "videomae":
        raise ModelError("VideoMAE has no published embedding of a clip: use output: patches and a pool")
    check_layer(layer, inner["num_hidden_layers"], output)
    return family, inner


def _frames(source: str | None, family: str, inner: dict[str, Any], wanted: int | None) -> int:
    if family not in CLIP_WISE:
        return wanted or 8
    if wanted not in (None, inner["num_frames"]):
        raise ModelError(
            f"frames is {wanted}, '{source or family}' looks at clips of {inner['num_frames']}: "
            "leave it out (frames: null)"
        )
    return inner["num_frames"]


def _size(source: str | None, family: str, inner: dict[str, Any], saved: int, wanted: int | None) -> int:
    """Return the height and width of a frame: what the preprocessing says, where the network has positions for it."""
    _, patch = _patch(family, inner)
    if family in _RESIZABLE:
        if wanted is not None and wanted % patch:
            raise ModelError(f"size is {wanted}, '{source or family}' needs a multiple of its patch of {patch} pixels")
        return wanted or saved
    native = inner["image_size"]
    native = native if isinstance(native, int) else native[0]
    if saved != native:
        raise ModelError(f"'{source}' looks at frames of {native} pixels, its preprocessing makes {saved}")
    if wanted not in (None, native):
        raise ModelError(
            f"size is {wanted}, '{source or family}' looks at frames of {native} pixels: leave it out (size: null)"
        )
    return native


def _patch(family: str, inner: dict[str, Any]) -> tuple[int, int]:
    """Return how many frames and pixels a patch spans."""
    if family == "vivit":
        steps, side, _ = inner["tubelet_size"]
        return steps, side
    return inner.get("tubelet_size", 1) if family == "videomae" else 1, inner["patch_size"]


def _part(whole: nn.Module, family: str, output: str) -> nn.Module:
    """Return the part of a network that the features come out of, without what they do not pass through."""
    if family in (*IMAGE_HALVES, "xclip"):
        if output == "embedding":
            return keep_only(whole, ("vision_model", "visual_projection", "mit"))
        whole = whole.vision_model
    if output == "patches" and hasattr(whole, "use_head"):
        whole.use_head, whole.head = False, nn.Identity()
    if output == "patches" and family in _CLASS_NORM:
        whole.post_layernorm = nn.Identity()
    if getattr(whole, "pooler", None) is not None:
        whole.pooler = None
    if getattr(whole.embeddings, "mask_token", None) is not None:  # stands for hidden patches in pretraining
        whole.embeddings.mask_token = None
    return whole


def _width(whole: nn.Module, family: str, inner: dict[str, Any], output: str) -> int:
    projected = output == "embedding" and family in (*IMAGE_HALVES, "xclip") and family != "siglip"
    return whole.config.projection_dim if projected else inner["hidden_size"]


def _whole_clips(values: Tensor, mask: Tensor, frames: int) -> Tensor:
    """Return clips of ``frames`` frames: where there are fewer real ones, the last of them goes on.

    Real frames are the first of a clip, as everywhere.

    Raises:
        ModelError: There are more.
    """
    if values.shape[1] > frames:
        raise ModelError(f"a clip of {values.shape[1]} frames is too long for a video model of {frames}")
    last = (mask.sum(dim=1, keepdim=True) - 1).clamp_min(0)
    chosen = torch.arange(frames, device=values.device).minimum(last)
    whole = values.gather(1, expand(chosen, values).expand(-1, -1, *values.shape[2:]))
    return torch.where(expand(mask.any(dim=1, keepdim=True), whole), whole, torch.zeros_like(whole))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
