"""Captions to sub-word token ids and back, by the ``tokenizers`` library."""

from __future__ import annotations

import difflib
import os
import string
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mmretrieval.errors import ModelError, QueryError

if TYPE_CHECKING:
    import tokenizers

PAD, UNKNOWN = "[PAD]", "[UNK]"
_WORD_START = "▁"
_TELLING = 3
"""Letters from which on a piece of a word tells something: "dogs" is known by its "dog", "xyzzy" is not by its "zz"."""


class Tokenizer:
    """A sub-word vocabulary (byte-pair encoding over letters).

    Captions are lower-cased and only their letters and digits count. Frequent words are one token; rare, new and
    mistyped ones fall into smaller pieces, down to single letters. A letter that no training caption held is the
    unknown token. Token 0 is padding.
    """

    pad_id = 0
    unknown_id = 1

    def __init__(self, inner: tokenizers.Tokenizer):
        self._inner = inner

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 1000) -> Tokenizer:
        """Learn a vocabulary of at most ``vocab_size`` pieces; the same captions, in any order, give the same one."""
        _be_quiet_after_fork()
        from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
        from tokenizers import Tokenizer as Inner

        inner = Inner(models.BPE(unk_token=UNKNOWN))
        inner.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"[^\p{L}\p{M}\p{N}]+"), " "),
             normalizers.Strip()]
        )  # fmt: skip
        inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_WORD_START, prepend_scheme="always")
        inner.decoder = decoders.Metaspace(replacement=_WORD_START, prepend_scheme="always")
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[PAD, UNKNOWN],
            # every plain letter, so that a typo never meets an unknown one
            initial_alphabet=[_WORD_START, *string.ascii_lowercase, *string.digits],
            show_progress=False,
        )
        inner.train_from_iterator(sorted(texts), trainer)
        return cls(inner)

    @property
    def size(self) -> int:
        """Tokens in the vocabulary, padding and the unknown token included."""
        return self._inner.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a caption; none for one without letters or digits."""
        return self._inner.encode(text).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, lower-cased, without padding and unknown letters."""
        return self._inner.decode(list(ids))

    def check(self, caption: str) -> None:
        """Check that there is something in a caption that this vocabulary was trained on.

        Raises:
            QueryError: It is empty, or has no word, nor a telling part of one, of the training captions.
        """
        if not caption.strip():
            raise QueryError("the caption is empty: say in a few words what is to be seen.")
        if not any(self._tells(piece, word) for word in self._words(caption) for piece in word):
            raise QueryError(f"the caption '{caption}' has no word this model knows.{self._suggestion(caption)}")

    def to_json(self) -> str:
        """Return everything needed to rebuild this tokenizer, in the format of the ``tokenizers`` library."""
        return self._inner.to_str()

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Rebuild a tokenizer from ``to_json``.

        Raises:
            ModelError: The text is no such tokenizer.
        """
        _be_quiet_after_fork()
        from tokenizers import Tokenizer as Inner

        try:
            inner = Inner.from_str(text)
        except Exception as error:  # the library raises the bare class
            raise ModelError(f"the vocabulary cannot be read, it is no tokenizer.json: {error}") from None
        return cls(inner)

    def _words(self, caption: str) -> list[list[str]]:
        """Return the pieces of each word, the mark of a word's start taken off."""
        words: list[list[str]] = []
        for piece in self._inner.encode(caption).tokens:
            if piece.startswith(_WORD_START) or not words:
                words.append([])
            words[-1].append(piece.removeprefix(_WORD_START))
        return [[piece for piece in word if piece] for word in words]

    @staticmethod
    def _tells(piece: str, word: list[str]) -> bool:
        if piece == UNKNOWN:
            return False
        whole = len(word) == 1
        # single letters are in the vocabulary for the sake of typos; a single CJK character or digit is a word
        return len(piece) >= _TELLING or (whole and (len(piece) > 1 or piece not in string.ascii_lowercase))

    def _suggestion(self, caption: str) -> str:
        known = [piece.removeprefix(_WORD_START) for piece in self._inner.get_vocab() if piece.startswith(_WORD_START)]
        known = sorted(piece for piece in known if len(piece) >= _TELLING)
        for word in caption.lower().split():
            if close := difflib.get_close_matches(word, known, n=1, cutoff=0.6):
                return f" Did you mean '{close[0]}'?"
        return " Use words like those of its training captions."


class PretrainedTokenizer(Tokenizer):
    """The sub-word vocabulary that came with a language model, its closing and opening tokens included.

    How long a caption may be is part of its JSON.
    """

    def check(self, caption: str) -> None:
        """Check that there is a word in a caption.

        Raises:
            QueryError: It is empty, or all of it is the unknown token.
        """
        if not caption.strip():
            raise QueryError("the caption is empty: say in a few words what is to be seen.")
        pieces = self._inner.encode(caption, add_special_tokens=False).tokens
        unknown = getattr(self._inner.model, "unk_token", None)
        if all(piece == unknown for piece in pieces):
            raise QueryError(f"the caption '{caption}' has no word this model knows. Write it in plain words.")


def tokenizer_from_json(text: str, vocabulary: str) -> Tokenizer:
    """Rebuild the tokenizer of a saved model; ``vocabulary`` is that of its ``TextSpec``.

    Raises:
        ModelError: The text is no tokenizer.
    """
    return (PretrainedTokenizer if vocabulary == "pretrained" else Tokenizer).from_json(text)


def _be_quiet_after_fork() -> None:
    # the library warns in every forked loader worker otherwise; captions are short, threads would not help
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
