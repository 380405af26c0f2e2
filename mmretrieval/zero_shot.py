"""Search without training: a published dual encoder of pictures and text as a retrieval model."""

from __future__ import annotations

from mmretrieval.encoders.pretrained.source import load_network, read_architecture
from mmretrieval.encoders.pretrained.text import HALVES
from mmretrieval.encoders.sections import PRETRAINED
from mmretrieval.errors import ModelError
from mmretrieval.model import MAX_SCALE, RetrievalModel


def adopt(source: str, frames: int | None = None) -> RetrievalModel:
    """Make a retrieval model of CLIP, SigLIP or another dual encoder; nothing is trained.

    A moment's embedding is the mean of its frames' published embeddings, each of unit length (X-CLIP has one for all
    frames, without the text's part in it); a caption's is the published one; they are compared by the cosine. The model
    saves, indexes, searches and trains on as any other.

    Args:
        source: Hub name or folder.
        frames: Frames looked at per moment; None is 8, or what a video model expects.

    Raises:
        ModelError: The source cannot be read or is no dual encoder.
    """
    architecture = read_architecture(source)
    family = architecture["model_type"]
    if family not in HALVES:
        raise ModelError(
            f"'{source}' is a '{family}', which does not compare pictures with text; families that do: "
            f"{', '.join(sorted(HALVES))}. In a recipe it may still serve as an encoder, by name: pretrained"
        )
    network, missing = load_network(source, architecture)
    if missing:
        raise ModelError(f"'{source}' has no weights for {len(missing)} parts of its network, first '{missing[0]}'")
    encoder = {"name": PRETRAINED, "source": source, "frozen": True, "output": "embedding"}
    pooling = {"pool": "mean", "norm": "none"}
    config = {
        "dim": architecture["vision_config"]["hidden_size"] if family == "siglip" else architecture["projection_dim"],
        "similarity": "cosine",
        "scale": min(MAX_SCALE, round(float(network.logit_scale.detach().exp()), 4)),
        "head": "none",
        "dropout": 0.0,
        "video": {"backbone": encoder, "frames": frames, "size": None, "fps": None, **pooling},
        "speech": None,
        "text": {"encoder": dict(encoder), "max_tokens": None, **pooling},
        "codebook": None,
    }
    return RetrievalModel.from_config(config).eval()
