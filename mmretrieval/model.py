"""The retrieval model: encoders of up to three modalities around one shared codebook.

Each modality has a continuous summary (pooled features through a gated head) and a discrete one (features snapped to
the codebook, pooled, projected). The embedding is their sum: Cross-Modal Discrete Representation Learning (arXiv
2106.05438), section 2.2; without a codebook the model is that of Spoken Moments in Time (arXiv 2105.04489).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmretrieval.codebook import EMACodebook
from mmretrieval.data.processor import Processor
from mmretrieval.encoders import create_encoder
from mmretrieval.errors import ModelError, QueryError
from mmretrieval.files import atomic_folder
from mmretrieval.layers.glu import GatedEmbeddingUnit, GLUHead
from mmretrieval.layers.pooling import MeanPool, create_pooler
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.types import MODALITIES, Batch, Encoder, Encoding, Features, Padded, SpeechSpec, TextSpec

FORMAT = 1
HEADS = {"glu": GLUHead, "gated": GatedEmbeddingUnit}
MAX_SCALE = 100.0


class Branch(nn.Module):
    """One modality: its encoder, its continuous summary and its way through the codebook.

    Args:
        encoder: Inputs to features (B, N, ``encoder.feature_dim``).
        dim: Width D of the embedding.
        code_dim: Width of the codebook, or None for a continuous model.
        pool: How features become one vector: ``mean``, ``max`` or ``attention``.
        head: ``glu`` (two linear layers, each gated) or ``gated`` (gated embedding unit).
        dropout: Share of pooled features dropped before the heads in training.
    """

    def __init__(
        self,
        encoder: Encoder,
        dim: int,
        code_dim: int | None,
        pool: str = "mean",
        head: str = "glu",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.encoder = encoder
        self.pool = create_pooler(pool, encoder.feature_dim)
        # pooled features share a large common part; without it the cosines of different items start far below 1
        self.norm = nn.BatchNorm1d(encoder.feature_dim)
        self.dropout = nn.Dropout(dropout)
        self.head = HEADS[head](encoder.feature_dim, dim)
        if code_dim is not None:
            # standardised over real positions: all modalities then lie in one place and on one scale, so that they meet
            # in the same codes, and the temperature-free soft-min over distances has a scale to work on
            self.to_codes = nn.Linear(encoder.feature_dim, code_dim, bias=False)
            self.code_norm = nn.BatchNorm1d(code_dim, affine=False)
            self.pool_codes = MeanPool()
            self.from_codes = nn.Linear(code_dim, dim)
            # the discrete summary starts at zero: when the codebook starts, the model is still the continuous one
            nn.init.zeros_(self.from_codes.weight)
            nn.init.zeros_(self.from_codes.bias)

    def forward(self, inputs: Padded) -> tuple[Tensor, Features]:
        """Return the continuous summary (B, D) and the fine-grained features."""
        features = self.encoder(inputs)
        return self.head(self.dropout(self.norm(self.pool(features)))), features

    def project(self, features: Features) -> Features:
        """Map features to the width and scale of the codebook."""
        real = self.code_norm(self.to_codes(features.values[features.mask]).float())
        values = real.new_zeros(*features.mask.shape, real.shape[-1])
        values[features.mask] = real
        return features._replace(values=values)

    def discrete(self, quantized: Features) -> Tensor:
        """Return the discrete summary (B, D) of quantised features."""
        return self.from_codes(self.dropout(self.pool_codes(quantized)))


class RetrievalModel(nn.Module):
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
        pools: Pooling by modality.
        head: Kind of head of the continuous summary.
        dropout: Dropout before the heads.
        config: Everything ``from_config`` needs to build this model again.
    """

    def __init__(
        self,
        encoders: dict[str, Encoder],
        processor: Processor,
        codebook: EMACodebook | None,
        dim: int,
        similarity: str = "cosine",
        scale: float = 20.0,
        pools: dict[str, str] | None = None,
        head: str = "glu",
        dropout: float = 0.0,
        config: dict[str, Any] | None = None,
    ):
        super().__init__()
        pools = pools or {}
        code_dim = codebook.dim if codebook is not None else None
        self.branches = nn.ModuleDict(
            {
                name: Branch(encoders[name], dim, code_dim, pools.get(name, "mean"), head, dropout)
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
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def discrete(self) -> bool:
        """Whether the codebook exists and has been started."""
        return self.codebook is not None and bool(self.codebook.ready)

    def forward(self, batch: Batch) -> dict[str, Encoding]:
        """Encode every modality of a batch."""
        return {name: self.encode(name, inputs) for name, inputs in batch.inputs.items()}

    def encode(self, modality: str, inputs: Padded) -> Encoding:
        """Encode one modality; until the codebook is started the embedding is the continuous summary alone."""
        branch = self._branch(modality)
        summary, features = branch(inputs)
        quantized = None
        if self.discrete:
            quantized = self.codebook(branch.project(features))
            summary = summary + branch.discrete(quantized.features)
        summary = summary.float()
        if self.similarity == "cosine":
            scale = self.log_scale.exp().clamp(max=MAX_SCALE)
            summary = nn.functional.normalize(summary, dim=-1) * scale.sqrt()
        return Encoding(summary, features, quantized)

    def code_features(self, modality: str, inputs: Padded) -> Tensor:
        """Return the projected features at real positions, (n, code width): what the codebook is started from."""
        branch = self._branch(modality)
        features = branch.project(branch.encoder(inputs))
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
        self.eval()
        try:
            rows = [self._embed_batch(modality, group) for group in _groups(items, batch_size)]
        finally:
            self.train(was_training)
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

    def fingerprint(self) -> str:
        """Return the SHA-256 of configuration and weights: what a collection remembers of its model."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def from_config(cls, config: dict[str, Any], tokenizer: Tokenizer | None = None) -> RetrievalModel:
        """Build a model with new weights from the ``model`` section of a recipe, in plain values.

        Args:
            config: As ``config.json`` of a saved model holds it.
            tokenizer: The sub-word vocabulary; needed where the model has text.
        """
        sections = {name: config[name] for name in MODALITIES if config.get(name)}
        encoders = {name: _BUILDERS[name](section, tokenizer) for name, section in sections.items()}
        processor = Processor(
            clip=replace(encoders["video"].spec, fps=sections["video"]["fps"]) if "video" in encoders else None,
            speech=_speech_spec(sections["speech"]) if "speech" in encoders else None,
            text=TextSpec(sections["text"]["max_tokens"]) if "text" in encoders else None,
            tokenizer=tokenizer,
        )
        codebook = EMACodebook(**config["codebook"]) if config.get("codebook") else None
        return cls(
            encoders,
            processor,
            codebook,
            dim=config["dim"],
            similarity=config["similarity"],
            scale=config["scale"],
            pools={name: section["pool"] for name, section in sections.items()},
            head=config["head"],
            dropout=config["dropout"],
            config=config,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json``, ``model.safetensors`` and ``tokenizer.json``, all or nothing.

        Raises:
            StorageError: The disk is full or cannot be written; what was there before is untouched.
        """
        from safetensors.torch import save_file

        with atomic_folder(folder) as unfinished:
            config = {"format": FORMAT, "model": self.config}
            (unfinished / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            if self.processor.tokenizer is not None:
                (unfinished / "tokenizer.json").write_text(self.processor.tokenizer.to_json(), encoding="utf-8")
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
            save_file(state, str(unfinished / "model.safetensors"))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> RetrievalModel:
        """Load a saved model, strictly; it is in evaluation mode.

        Raises:
            ModelError: Not a saved model, damaged, or weights that do not fit the configuration.
        """
        folder = Path(folder)
        config = _read_config(folder)
        tokenizer_file = folder / "tokenizer.json"
        tokenizer = Tokenizer.from_json(tokenizer_file.read_text("utf-8")) if tokenizer_file.is_file() else None
        try:
            model = cls.from_config(config, tokenizer)
        except (KeyError, TypeError) as error:
            raise ModelError(f"{folder}/config.json does not describe a model: {error}") from None
        state = _read_weights(folder / "model.safetensors")
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        got = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if expected != got:
            wrong = sorted(name for name in expected | got if expected.get(name) != got.get(name))
            raise ModelError(
                f"{folder}: weights and config.json do not belong together: {len(wrong)} tensors differ, "
                f"first '{wrong[0]}' (config.json says {expected.get(wrong[0])}, the weights have {got.get(wrong[0])})"
            )
        model.load_state_dict(state)
        return model.eval()


def _build_video(section: dict, tokenizer: Tokenizer | None) -> Encoder:
    backbone = dict(section["backbone"])
    return create_encoder(
        "video", backbone=backbone.pop("name"), frames=section["frames"], size=section["size"], **backbone
    )


def _build_speech(section: dict, tokenizer: Tokenizer | None) -> Encoder:
    arguments = dict(section["encoder"])
    return create_encoder(arguments.pop("name"), mels=section["mels"], **arguments)


def _build_text(section: dict, tokenizer: Tokenizer | None) -> Encoder:
    if tokenizer is None:
        raise ModelError("a model with text needs its sub-word vocabulary: tokenizer.json is missing")
    arguments = dict(section["encoder"])
    name = arguments.pop("name")
    return create_encoder(name, vocab_size=tokenizer.size, max_tokens=section["max_tokens"], **arguments)


_BUILDERS = {"video": _build_video, "speech": _build_speech, "text": _build_text}


def _speech_spec(section: dict) -> SpeechSpec:
    return replace(SpeechSpec(), mels=section["mels"], max_seconds=section["max_seconds"])


def _groups(items: Iterable[Tensor], size: int) -> Iterable[list[Tensor]]:
    group: list[Tensor] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ModelError(f"no model at '{folder}': give the folder that training wrote, e.g. runs/demo/model")
    try:
        saved = json.loads((folder / "config.json").read_text("utf-8"))
        written, config = saved["format"], saved["model"]
    except FileNotFoundError:
        raise ModelError(f"'{folder}' is not a saved model: it has no config.json") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}/config.json is damaged: {error}") from None
    if written > FORMAT:
        raise ModelError(f"{folder} has format {written}, this version reads up to {FORMAT}: upgrade mmretrieval")
    return config


def _read_weights(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise ModelError(f"'{file.parent}' is not a saved model: it has no {file.name}")
    try:
        return load_file(str(file))
    except SafetensorError as error:
        raise ModelError(f"{file} is not a whole safetensors file ({error}): copy it again or train again") from None
