"""One modality to features: video, speech and text encoders, each built by its name from plain options."""

from __future__ import annotations

from typing import Any

from mmretrieval.backbones import build
from mmretrieval.encoders import pretrained, speech, speech_resnet, text, video  # noqa: F401 (importing registers)
from mmretrieval.encoders.names import encoders
from mmretrieval.types import Encoder

__all__ = ["create_encoder", "encoders"]


def create_encoder(name: str, **options: Any) -> Encoder:
    """Build an encoder by its name, for example ``create_encoder("video", backbone="tsm_resnet_tiny", frames=8)``.

    Raises:
        UnknownNameError: No encoder of that name, or it does not know one of the options.
    """
    return build(encoders, name, options)
