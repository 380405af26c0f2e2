"""Image processors of transformers as clip specs of ours: the same pixels reach the network."""

from __future__ import annotations

from typing import Any

from mmretrieval.errors import ModelError
from mmretrieval.types import ClipSpec

_RESAMPLING = {2: "bilinear", 3: "bicubic"}
"""PIL's numbers of the resampling filters."""

_SQUASHING = ("ViTImageProcessor", "ViTFeatureExtractor", "SiglipImageProcessor", "DeiTImageProcessor")


def clip_spec(source: str | None, settings: dict[str, Any]) -> ClipSpec:
    """Translate the saved settings of an image processor.

    A shorter side and a crop become the share of the largest middle square that is cut out; height and width squash
    the whole frame. Rescaling, an offset (ViViT) and normalisation become one mean and one standard deviation for
    pixels scaled to 0-1.

    Raises:
        ModelError: Frames that are not square, or a resampling filter that we do not have.
    """
    size, resize, crop = _geometry(source, settings)
    resample = settings.get("resample", 2)
    if resample not in _RESAMPLING:
        raise ModelError(f"'{source}' resizes frames by filter {resample} of PIL; known: 2 (bilinear), 3 (bicubic)")
    mean, std = _affine(settings)
    return ClipSpec(size=size, mean=mean, std=std, resize=resize, crop=crop, resample=_RESAMPLING[resample])


def _geometry(source: str | None, settings: dict[str, Any]) -> tuple[int, str, float]:
    """Return the side of the square that the network sees, how frames become squares, and the share that is cut out."""
    size, crop = settings.get("size"), settings.get("crop_size")
    crops = settings.get("do_center_crop", crop is not None) and crop is not None
    if isinstance(crop, dict):
        crop = _side(source, crop)
    if isinstance(size, int):  # before transformers 4.25 the processor's kind said what the number meant
        kind = settings.get("image_processor_type") or settings.get("feature_extractor_type")
        size = {"height": size, "width": size} if kind in _SQUASHING else {"shortest_edge": size}
    if not size or not settings.get("do_resize", True):
        if not crops:
            raise ModelError(f"'{source}' does not say what size of frames its network sees")
        return crop, "crop", 1.0
    resize = "crop" if "shortest_edge" in size else "squash"
    side = size["shortest_edge"] if resize == "crop" else _side(source, size)
    return (crop, resize, crop / side) if crops else (side, resize, 1.0)


def _side(source: str | None, size: dict[str, int]) -> int:
    if size.get("height") != size.get("width") or "height" not in size:
        raise ModelError(f"'{source}' has preprocessing for frames of {size}; square frames are needed")
    return size["height"]


def _affine(settings: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation for pixels of 0-1 that do what the processor does to pixels of 0-255."""
    factor = 255 * (settings.get("rescale_factor") or 1 / 255) if settings.get("do_rescale", True) else 255.0
    offset = 1.0 if settings.get("offset") and settings.get("do_rescale", True) else 0.0
    mean, std = (0.0,) * 3, (1.0,) * 3
    if settings.get("do_normalize", True):
        mean, std = settings["image_mean"], settings["image_std"]
    return tuple((offset + m) / factor for m in mean), tuple(s / factor for s in std)
