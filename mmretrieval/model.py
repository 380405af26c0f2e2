"""The retrieval model: encoders of up to three modalities around one shared codebook.

Each modality has a continuous summary (pooled features through a gated head) and a discrete one (features snapped to
the codebook, pooled, projected). The embedding is their sum: Cross-Modal Discrete Representation Learning (arXiv
2106.05438), section 2.2; without a codebook the model is that of Spoken Moments in Time (arXiv 2105.04489).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmretrieval.codebook import EMACodebook
from mmretrieval.data.processor import Processor
from mmretrieval.encoders.sections import build_encoder, clip_spec, is_pretrained, speech_spec, text_spec
from mmretrieval.errors import QueryError
from mmretrieval.layers.branch import Branch
from mmretrieval.media.tokens import PretrainedTokenizer, Tokenizer, tokenizer_from_json
from mmretrieval.saved import SavedModel
from mmretrieval.types import MODALITIES, Batch, Encoder, Encoding, Features, Padded

MAX_SCALE = 100.0
POOLING = ("pool", "norm", "pool_number")
"""Keys of a modality's section that say how its features become one vector; models saved earlier lack the last two."""


class RetrievalModel(SavedModel):
    """Video, spoken captions and typed captions in one space.

    Calling it with a ``Batch`` gives one ``Encoding`` per modality. With ``similarity: cosine`` embeddings have unit
    length times the square root of a learned scale, so that a plain dot product is the scaled cosine everywhere an
    objective looks; with ``dot`` they are raw, as published. ``embed`` gives what an index stores.

    Args:
        encoders: One encoder per modality.
        processor: The preprocessing that belongs to these weights.
        codebook: The shared codebook, or None.
        dim: Width D of the embedding.
        similarity: ``cosine`` or ``dot``.
        scale: What cosines are multiplied by at the start of training.
        pools: By modality the ``pool``, ``norm`` and ``pool_number`` of its branch, where they are not the usual ones.
        head: Kind of head of the continuous summary.
        dropout: Dropout before the heads.
        config: Everything ``from_config`` needs to build this model again.
    """

    kind = "retrieval"

    def __init__(
        self,
        encoders: dict[str, Encoder],
        processor: Processor,
        codebook: EMACodebook | None,
        dim: int,
        similarity: str = "cosine",
        scale: float = 20.0,
        pools: dict[str, dict[str, Any]] | None = None,
        head: str = "glu",
        dropout: float = 0.0,
        config: dict[str, Any] | None = None,
    ):
        super().__init__()
        pools = pools or {}
        code_dim = codebook.dim if codebook is not None else None
        self.branches = nn.ModuleDict(
            {
                name: Branch(encoders[name], dim, code_dim, head=head, dropout=dropout, **pools.get(name, {}))
                for name in MODALITIES
                if name in encoders
            }
        )
        self.codebook = codebook
        self.processor = processor
        self.dim = dim
        self.similarity = similarity
        self.config = config
        if similarity == "cosine":
            self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities this model can encode, in canonical order."""
        return tuple(self.branches)

    @property
    def metric(self) -> str:
        """How embeddings are compared: ``cosine`` or ``inner_product``."""
        return "cosine" if self.similarity == "cosine" else "inner_product"

    @property
    def discrete(self) -> bool:
        """Whether the codebook exists and has been started."""
        return self.codebook is not None and bool(self.codebook.ready)

    def forward(self, batch: Batch, chunk_size: int | None = None) -> dict[str, Encoding]:
        """Encode every modality of a batch.

        Args:
            batch: The batch.
            chunk_size: Encoders see so many clips at a time, forwards and backwards; None is all at once. The
                gradient is that of the whole batch, but ``features`` of an encoding are then only what the codebook
                sees: projected, or pooled where there is none.
        """
        return {name: self.encode(name, inputs, chunk_size) for name, inputs in batch.inputs.items()}

    def encode(self, modality: str, inputs: Padded | Features, chunk_size: int | None = None) -> Encoding:
        """Encode one modality; until the codebook is started the embedding is the continuous summary alone."""
        branch = self._branch(modality)
        if chunk_size is None or isinstance(inputs, Features):
            summary, features = branch(inputs)
            projected = branch.project(features) if self.discrete else None
        else:
            pooled, features = branch.pool_chunks(inputs, chunk_size, self.discrete)
            summary, projected = branch.summary(pooled), features
        quantized = None
        if self.discrete:
            quantized = self.codebook(projected)
            summary = summary + branch.discrete(quantized.features)
        summary = summary.float()
        if self.similarity == "cosine":
            scale = self.log_scale.exp().clamp(max=MAX_SCALE)
            summary = nn.functional.normalize(summary, dim=-1) * scale.sqrt()
        return Encoding(summary, features, quantized)

    def code_features(self, modality: str, inputs: Padded | Features, chunk_size: int | None = None) -> Tensor:
        """Return the projected features at real positions, (n, code width): what the codebook is started from."""
        branch = self._branch(modality)
        if chunk_size is None or isinstance(inputs, Features):
            features = branch.project(branch.features(inputs))
        else:
            _, features = branch.pool_chunks(inputs, chunk_size, discrete=True)
        return features.values[features.mask].float()

    @torch.inference_mode()
    def embed(self, modality: str, items: Iterable[Tensor], batch_size: int = 64) -> np.ndarray:
        """Embed preprocessed items of one modality, (n, D) float32; unit length where the metric is cosine.

        Args:
            modality: ``video``, ``speech`` or ``text``.
            items: What ``processor.video``, ``.speech`` or ``.text`` make of files and captions.
            batch_size: Items encoded at a time.
        """
        was_training = self.training
        if was_training:  # walking through all parts takes longer than a short caption
            self.eval()
        try:
            rows = [self._embed_batch(modality, group) for group in _groups(items, batch_size)]
        finally:
            if was_training:
                self.train()
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), np.float32)

    def _embed_batch(self, modality: str, items: list[Tensor]) -> np.ndarray:
        batch = self.processor.collate([""] * len(items), [{modality: item} for item in items])
        inputs = Padded(*(part.to(self.device) for part in batch.inputs[modality]))
        embedding = self.encode(modality, inputs).embedding
        if self.metric == "cosine":
            embedding = nn.functional.normalize(embedding, dim=-1)
        return embedding.cpu().numpy()

    def embed_text(self, captions: Iterable[str]) -> np.ndarray:
        """Embed typed captions, (n, D)."""
        return self.embed("text", [self.processor.text(caption) for caption in captions])

    def embed_speech(self, recordings: Iterable[str | Path | np.ndarray]) -> np.ndarray:
        """Embed spoken captions, audio files or 16 kHz waveforms, (n, D)."""
        return self.embed("speech", [self.processor.speech(recording) for recording in recordings])

    def embed_video(self, paths: Iterable[str | Path]) -> np.ndarray:
        """Embed whole video files, (n, D)."""
        return self.embed("video", [self.processor.video(path) for path in paths])

    def _branch(self, modality: str) -> Branch:
        if modality not in self.branches:
            raise QueryError(f"this model has no {modality}; it knows {', '.join(self.modalities)}")
        return self.branches[modality]

    @classmethod
    def from_config(cls, config: dict[str, Any], tokenizer: Tokenizer | None = None) -> RetrievalModel:
        """Build a model with new weights from the ``model`` section of a recipe, in plain values.

        Pretrained encoders that name a source are read from there, with their vocabulary; the ``config`` of the model
        then holds what is needed to build them without it.

        Args:
            config: As ``config.json`` of a saved model holds it.
            tokenizer: The sub-word vocabulary; needed where the model has text that does not bring its own.
        """
        config = deepcopy(config)
        sections = {name: config[name] for name in MODALITIES if config.get(name)}
        encoders = {name: build_encoder(name, section, tokenizer) for name, section in sections.items()}
        brought = getattr(encoders.get("text"), "tokenizer_json", None)
        processor = Processor(
            clip=clip_spec(sections["video"], encoders["video"]) if "video" in encoders else None,
            speech=speech_spec(sections["speech"], encoders["speech"]) if "speech" in encoders else None,
            text=text_spec(sections["text"], encoders["text"]) if "text" in encoders else None,
            tokenizer=tokenizer if brought is None else PretrainedTokenizer.from_json(brought),
        )
        codebook = EMACodebook(**config["codebook"]) if config.get("codebook") else None
        return cls(
            encoders,
            processor,
            codebook,
            dim=config["dim"],
            similarity=config["similarity"],
            scale=config["scale"],
            pools={name: _pooling(section) for name, section in sections.items()},
            head=config["head"],
            dropout=config["dropout"],
            config=config,
        )

    @classmethod
    def rebuild(cls, config: dict[str, Any], folder: Path) -> RetrievalModel:
        """Build the model of a saved folder, with the vocabulary that lies there."""
        return cls.from_config(config, _read_tokenizer(folder, config))

    def companions(self) -> dict[str, str]:
        """Return the vocabulary, where the model has one."""
        return {} if self.processor.tokenizer is None else {"tokenizer.json": self.processor.tokenizer.to_json()}


def _pooling(section: dict) -> dict:
    """Return the keys of a modality's section that its branch wants to know."""
    return {key: section[key] for key in POOLING if key in section}


def _read_tokenizer(folder: Path, config: dict) -> Tokenizer | None:
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    return tokenizer_from_json(file.read_text("utf-8"), "pretrained" if is_pretrained(config.get("text")) else "own")


def _groups(items: Iterable[Tensor], size: int) -> Iterable[list[Tensor]]:
    group: list[Tensor] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
