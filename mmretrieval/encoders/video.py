"""Frames as they are decoded to features: normalisation and a backbone of the zoo."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmretrieval.backbones import create_backbone
from mmretrieval.encoders.names import encoders
from mmretrieval.media.transforms import normalize
from mmretrieval.types import Backbone, ClipSpec, Features, Padded


class VideoEncoder(nn.Module):
    """Normalise frames as the backbone's weights expect, and encode them.

    Args:
        backbone: Any network of the zoo, or one that keeps its contract.
    """

    modality = "video"

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        self.feature_dim = backbone.feature_dim

    @property
    def feature_groups(self) -> tuple[int, ...]:
        """Widths of the parts of a feature that come from different networks; one part unless the backbone has more."""
        return getattr(self.backbone, "feature_groups", (self.feature_dim,))

    @property
    def spec(self) -> ClipSpec:
        """The clips it expects."""
        return self.backbone.spec

    def forward(self, frames: Padded) -> Features:
        """Frames (B, T, 3, H, W), uint8 from 0 to 255 or floats from 0 to 1, to the backbone's features."""
        # Constants of the spec, not buffers: the spec is saved with the model, and no second copy can disagree with it.
        values = normalize(frames.values, self.spec.mean, self.spec.std)
        return self.backbone(Padded(values, frames.mask))


@encoders.register()
def video(backbone: str = "tsm_resnet18", **options: Any) -> VideoEncoder:
    """Build a video encoder on the backbone of that name; ``options`` (frames, size, …) are the backbone's."""
    return VideoEncoder(create_backbone(backbone, **options))
