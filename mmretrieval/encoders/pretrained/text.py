"""Pretrained language models as text encoders."""

from __future__ import annotations

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
from mmretrieval.encoders.pretrained.source import read_architecture, read_tokenizer
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import zero_padding
from mmretrieval.types import Features, Padded, TextSpec

CLASS_TOKEN = ("albert", "bert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
"""Encoders that put a token in front of a caption, which stands for all of it."""

HALVES = ("altclip", "chinese_clip", "clip", "siglip", "xclip")
"""Dual encoders, of which the text half is taken."""

ALONE = ("clip_text_model",)
"""Text halves that were saved without the other half."""

FAMILIES = (*CLASS_TOKEN, *HALVES, *ALONE, "bart")

_OFFSET = ("mpnet", "roberta", "xlm-roberta", "altclip")
"""Families that number positions from behind the padding token's id on, and so have fewer than they count."""

_FILLED = ("siglip",)
"""Families trained on captions filled up to full length, the filling seen: it is a part of every caption."""

_LONGEST = 512
"""Tokens at most where a model does not say; far beyond any caption."""


class PretrainedText(Adapter):
    """Sub-word tokens through a language model of transformers; padding never changes a feature.

    Args:
        network: What the features come out of.
        family: Its ``model_type``.
        inner: The configuration of the text network.
        output: ``tokens`` or ``embedding``.
        special_ids: Tokens that are no words, which are then no features; None keeps them.
        pad_id: The token that fills up captions.
        spec: The captions it expects.
        feature_dim: Width of the features, D.
        frozen: Never train it.
        layer: Which hidden states; None is the network's output.
        remembered: What a saved model keeps of it.
    """

    modality = "text"
    tokenizer_json: str | None = None
    """The vocabulary that came with the weights; None where they were built anew."""

    def __init__(
        self,
        network: nn.Module,
        family: str,
        inner: dict[str, Any],
        output: str,
        special_ids: list[int] | None,
        pad_id: int,
        spec: TextSpec,
        feature_dim: int,
        frozen: bool,
        layer: int | None,
        remembered: dict[str, Any],
    ):
        super().__init__(network, frozen, layer, remembered)
        self.family, self.output, self.special_ids = family, output, special_ids
        self.spec, self.feature_dim = spec, feature_dim
        self.pad_id = pad_id
        self.filled = _positions(family, inner) if family in _FILLED else None

    def encode(self, tokens: Padded) -> Features:
        """Token ids (B, L) to features (B, L, D), or (B, 1, D) with ``output="embedding"``.

        Raises:
            ModelError: More tokens than ``max_tokens``.
        """
        mask, length = tokens.mask, tokens.mask.shape[1]
        if length > self.spec.max_tokens:
            raise ModelError(
                f"a caption of {length} tokens is too long for a text encoder of {self.spec.max_tokens} positions: "
                f"cut captions to max_tokens"
            )
        ids = tokens.values.masked_fill(~mask, self.pad_id)
        if self.filled is not None:
            inputs = {"input_ids": F.pad(ids, (0, self.filled - length), value=self.pad_id)}
        else:
            # attention over nothing is NaN: a row that is all padding attends to itself and is zeroed at the end
            inputs = {"input_ids": ids, "attention_mask": (mask | ~mask.any(dim=1, keepdim=True)).long()}
        if self.output == "embedding":
            return one_vector(self._embedding(inputs), mask.any(dim=1))
        values = self.hidden(**inputs)[:, :length]
        if self.special_ids is not None:
            mask = mask & ~torch.isin(ids, torch.tensor(self.special_ids, device=ids.device))
        return Features(zero_padding(values, mask), mask, (length,))

    def _embedding(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return one vector per caption, (B, D)."""
        if self.family in CLASS_TOKEN:
            return self.hidden(**inputs)[:, 0]
        call = self.network if self.family in ALONE else self.network.get_text_features
        return F.normalize(pooled(call(**inputs)), dim=-1)


def pretrained_text(
    source: str | None = None,
    frozen: bool = True,
    output: str = "tokens",
    layer: int | None = None,
    part: str = "decoder",
    words_only: bool = False,
    max_tokens: int | None = None,
    architecture: dict[str, Any] | None = None,
    special_ids: list[int] | None = None,
    pad_id: int | None = None,
) -> PretrainedText:
    """Make a text encoder of a language model.

    Args:
        source: Hub name or folder.
        frozen: Never train it.
        output: ``tokens``: a feature per token. ``embedding``: one for the whole caption, as published: of unit length
            where the model is one half of a dual encoder, else that of the class token.
        layer: Which hidden states; None is the network's output.
        part: Of BART: ``decoder``, which reads the caption once more when the encoder has, or ``encoder`` alone.
            Spoken Moments (arXiv 2105.04489, §4.2.1) leaves open which; the decoder's output is the default.
        words_only: Leave out of the features what is no word: tokens for beginning, end, class, separation.
        max_tokens: Longest caption, L; None is as long as the model can.
        architecture: What a saved model remembers of the network: it is then built without the source.
        special_ids: What a saved model remembers of the tokens that are no words.
        pad_id: What a saved model remembers of the token that fills up captions.

    Raises:
        ModelError: The source cannot be read, is no language model, or an option does not fit it.
    """
    fresh = architecture is None
    architecture = read_architecture(source) if fresh else architecture
    family, inner = _checked(source, architecture, output, layer, part)
    tokenizer_json = None
    if fresh:
        tokenizer = read_tokenizer(source)
        max_tokens = _max_tokens(source, max_tokens, min(_positions(family, inner), tokenizer.model_max_length))
        tokenizer_json = settled_tokenizer(tokenizer, max_tokens)
        special_ids, pad_id = _special_ids(tokenizer), tokenizer.pad_token_id
    pad_id = pad_id if pad_id is not None else inner.get("pad_token_id") or 0
    whole, missing = open_network(source if fresh else None, architecture)
    encoder = PretrainedText(
        _part(whole, family, output, part),
        family,
        inner,
        output,
        special_ids if words_only else None,
        pad_id,
        TextSpec(max_tokens or _positions(family, inner), vocabulary="pretrained"),
        _width(whole, family, inner, output, layer),
        frozen,
        layer,
        {"architecture": architecture, "special_ids": special_ids, "pad_id": pad_id},
    )
    check_complete(source, encoder, missing, whole)
    encoder.tokenizer_json = tokenizer_json
    return encoder


def settled_tokenizer(tokenizer: Any, max_tokens: int) -> str:
    """Return the JSON of a fast tokenizer that cuts captions to ``max_tokens``, closing tokens included."""
    from tokenizers import Tokenizer

    inner = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    inner.enable_truncation(max_tokens)
    inner.no_padding()
    return inner.to_str()


def _checked(
    source: str | None, architecture: dict[str, Any], output: str, layer: int | None, part: str
) -> tuple[str, dict[str, Any]]:
    """Return the family and the configuration of the text network, once the options fit it."""
    family = architecture["model_type"]
    if family not in FAMILIES:
        raise unsupported(source, family, "text", FAMILIES)
    inner = architecture["text_config"] if family in HALVES else architecture
    check_choice("output", output, ("tokens", "embedding"))
    check_choice("part", part, ("decoder", "encoder"))
    if output == "embedding" and family == "bart":
        raise ModelError("BART has no published embedding of a whole caption: use output: tokens and a pool")
    depths = {"bart": f"{part}_layers", "distilbert": "n_layers"}
    check_layer(layer, inner[depths.get(family, "num_hidden_layers")], output)
    return family, inner


def _positions(family: str, inner: dict[str, Any]) -> int:
    """Return how many tokens the network has positions for."""
    positions = inner.get("max_position_embeddings") or _LONGEST
    return positions - (inner.get("pad_token_id") or 0) - 1 if family in _OFFSET else positions


def _max_tokens(source: str | None, wanted: int | None, limit: int) -> int:
    if wanted is not None and wanted > limit:
        raise ModelError(f"max_tokens is {wanted}, '{source}' takes at most {limit}: lower it or leave it out")
    return min(limit, _LONGEST) if wanted is None else wanted


def _special_ids(tokenizer: Any) -> list[int]:
    """Return the ids of tokens that stand for no word; the unknown token stands for one."""
    ids = {getattr(tokenizer, f"{kind}_token_id", None) for kind in ("bos", "eos", "cls", "sep", "pad")}
    return sorted(number for number in ids if number is not None)


def _part(whole: nn.Module, family: str, output: str, part: str) -> nn.Module:
    """Return the part of a network that the features come out of, without what they do not pass through."""
    if family in HALVES and output == "embedding":
        return keep_only(whole, ("text_model", "text_projection"))
    network = whole.text_model if family in HALVES else whole
    if family == "bart" and part == "encoder":
        return network.encoder
    if output == "tokens" and hasattr(network, "head"):
        network.head = nn.Identity()
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    return network


def _width(whole: nn.Module, family: str, inner: dict[str, Any], output: str, layer: int | None) -> int:
    if output == "embedding" and family in _FILLED:
        return inner["projection_size"]
    if output == "embedding" and family in HALVES:
        return whole.config.projection_dim
    if family == "altclip" and layer is None:
        return inner["project_dim"]
    return inner.get("hidden_size") or inner.get("d_model") or inner["dim"]
