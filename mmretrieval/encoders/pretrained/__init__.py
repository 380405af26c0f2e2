"""Any transformers model as an encoder: ``create_encoder("pretrained", modality="text", source="facebook/bart-base")``.

A source is a hub name or a folder that ``save_pretrained`` of transformers wrote. Frozen (the default) or trained; the
preprocessing that belongs to the weights comes with them, and everything is kept in our own saved model.
"""

from __future__ import annotations

from typing import Any

from mmretrieval.encoders.names import encoders
from mmretrieval.encoders.pretrained.adapter import Adapter, check_choice
from mmretrieval.encoders.pretrained.speech import pretrained_speech
from mmretrieval.encoders.pretrained.text import pretrained_text
from mmretrieval.encoders.pretrained.vision import pretrained_video
from mmretrieval.errors import ModelError, UnknownNameError, did_you_mean

__all__ = ["Adapter", "pretrained", "pretrained_speech", "pretrained_text", "pretrained_video"]

BUILDERS = {"video": pretrained_video, "speech": pretrained_speech, "text": pretrained_text}


@encoders.register()
def pretrained(modality: str, source: str | None = None, **options: Any) -> Adapter:
    """An encoder of transformers; ``options`` are those of the modality's builder above.

    Raises:
        ModelError: The source cannot be read or does not fit the modality.
        UnknownNameError: An option that this modality does not have.
    """
    check_choice("modality", modality, tuple(BUILDERS))
    builder = BUILDERS[modality]
    known = [name for name in builder.__annotations__ if name not in ("return", "source")]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
            raise UnknownNameError(f"a pretrained {modality} encoder has no option '{name}'.{hint}")
    if source is None and options.get("architecture") is None:
        raise ModelError("a pretrained encoder needs its source: a hub name, e.g. facebook/bart-base, or a folder")
    return builder(source=source, **options)
