"""Codes as detectors: how well one code of the codebook stands for a word, a label or a thing. Plain NumPy.

The protocol of the unit analysis of ResDAVEnet-VQ (Harwath, Hsu and Glass, ICLR 2020): of the positions that a code
takes, how many lie on the word (precision); of the times the word is said, how many does the code take (recall). The
same counts, over clips instead of positions, are P(label | code) and P(code | label).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "at", "for", "in", "is", "it", "of", "on", "that", "the", "there", "this", "to", "with"}
)
"""Seventeen function words that say nothing about what is seen; the published list is not known to us."""

HALF_WIDTH = 0.04
"""Seconds on either side of a position's centre within which a word counts as being said there."""

DETECTS_FROM = 0.35
"""Precision from which a code is counted as a detector of a word."""


class Mention(NamedTuple):
    """Something named in a sample: a word that is said, an action that is labelled, a thing that is seen.

    ``at`` (N,) bool are the positions that lie on it: codes are precise there. ``within`` (N,) bool are those at which
    a code that stands for it may be found.
    """

    name: str
    at: np.ndarray
    within: np.ndarray


class Detectors(NamedTuple):
    """Counts of K codes against W names, from which precision, recall and F1 follow.

    ``names`` (W,); ``positions`` (K,), how often a code was assigned; ``hits`` (K, W), how often on that name;
    ``occurrences`` (W,), how often something was named; ``found`` (K, W), at how many of these the code was found.
    """

    names: tuple[str, ...]
    positions: np.ndarray
    hits: np.ndarray
    occurrences: np.ndarray
    found: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """P(name | code), (K, W); 0 for a code that was never assigned."""
        return self.hits / np.maximum(self.positions, 1)[:, None]

    @property
    def recall(self) -> np.ndarray:
        """P(code | name), (K, W)."""
        return self.found / np.maximum(self.occurrences, 1)

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of precision and recall, (K, W)."""
        precision, recall = self.precision, self.recall
        return 2 * precision * recall / np.maximum(precision + recall, 1e-12)

    def at_least(self, occurrences: int) -> Detectors:
        """Return the names that occur so often: a word said once is found by accident."""
        kept = np.flatnonzero(self.occurrences >= occurrences)
        names = tuple(self.names[index] for index in kept)
        return Detectors(names, self.positions, self.hits[:, kept], self.occurrences[kept], self.found[:, kept])


def detectors(samples: Iterable[tuple[np.ndarray, Sequence[Mention]]], size: int) -> Detectors:
    """Count how codes and names meet.

    Args:
        samples: Of each sample its codes (N,), −1 where padded, and what is named in it.
        size: Number of codes in the codebook, K.

    Raises:
        ValueError: An id is outside the codebook.
    """
    positions = np.zeros(size, np.int64)
    hits: dict[str, np.ndarray] = {}
    found: dict[str, np.ndarray] = {}
    occurrences: dict[str, int] = {}
    for codes, mentions in samples:
        codes = np.asarray(codes).ravel()
        if (wrong := codes[(codes < -1) | (codes >= size)]).size:
            outside = wrong[0]
            raise ValueError(f"codes of a codebook of {size} are 0 to {size - 1}, or -1 where padded; got {outside}")
        real = codes >= 0
        positions += np.bincount(codes[real], minlength=size)
        on: dict[str, np.ndarray] = {}
        for name, at, within in mentions:
            on[name] = on[name] | at if name in on else at
            occurrences[name] = occurrences.get(name, 0) + 1
            fired = np.unique(codes[within & real])
            found.setdefault(name, np.zeros(size, np.int64))[fired] += 1
        for name, at in on.items():  # a position on two mentions of one name is one position
            hits[name] = hits.get(name, 0) + np.bincount(codes[at & real], minlength=size)
    names = tuple(sorted(occurrences))
    empty = np.zeros((size, 0), np.int64)
    return Detectors(
        names,
        positions,
        np.stack([hits[name] for name in names], axis=1) if names else empty,
        np.array([occurrences[name] for name in names], np.int64),
        np.stack([found[name] for name in names], axis=1) if names else empty,
    )


def spoken_mentions(
    words: Sequence[tuple[str, float, float]],
    count: int,
    step: float,
    offset: float = 0.5,
    half_width: float = HALF_WIDTH,
    stop_words: Collection[str] = STOP_WORDS,
) -> list[Mention]:
    """Return the words of a spoken caption as mentions.

    A position lies on a word that overlaps ``half_width`` seconds on either side of its centre; a code may be found
    for the word at any position whose step overlaps it.

    Args:
        words: (word, start, end) in seconds.
        count: Positions of the recording, N.
        step: Seconds from one position to the next.
        offset: Where in its step the centre of a position lies: 0.5 in the middle, as published.
        half_width: Seconds.
        stop_words: Words left out.
    """
    centres = (np.arange(count) + offset) * step
    mentions = []
    for word, start, end in words:
        if word.lower() in stop_words:
            continue
        at = (centres + half_width > start + _SAME) & (centres - half_width < end - _SAME)
        within = (centres + step / 2 > start + _SAME) & (centres - step / 2 < end - _SAME)
        mentions.append(Mention(word.lower(), at, within))
    return mentions


_SAME = 1e-9
"""Seconds below which two times are the same: what only touches does not overlap."""


def typed_mentions(
    words: Sequence[tuple[str, slice]], count: int, stop_words: Collection[str] = STOP_WORDS
) -> list[Mention]:
    """Return the words of a typed caption as mentions: each lies at its own tokens.

    Args:
        words: Each word with its tokens, as ``word_tokens`` gives them.
        count: Tokens of the caption, L.
        stop_words: Words left out.
    """
    mentions = []
    for word, tokens in words:
        at = np.zeros(count, bool)
        at[tokens] = True
        if word not in stop_words and at.any():
            mentions.append(Mention(word, at, at))
    return mentions


def label_mentions(names: Iterable[str], count: int) -> list[Mention]:
    """Return what holds of a whole clip as mentions: every one of its ``count`` positions lies on it."""
    everywhere = np.ones(count, bool)
    return [Mention(name, everywhere, everywhere) for name in dict.fromkeys(names)]


def ranking(table: Detectors) -> list[dict[str, Any]]:
    """Return each assigned code with the name it stands for best, the best code first.

    Returns:
        ``{code, name, f1, precision, recall, positions, occurrences}`` for every code that meets a name.
    """
    if not table.names:
        return []
    f1, precision, recall = table.f1, table.precision, table.recall
    rows = []
    for code in np.flatnonzero(f1.max(axis=1) > 0):
        best = int(f1[code].argmax())
        rows.append(
            {
                "code": int(code),
                "name": table.names[best],
                "f1": float(f1[code, best]),
                "precision": float(precision[code, best]),
                "recall": float(recall[code, best]),
                "positions": int(table.positions[code]),
                "occurrences": int(table.occurrences[best]),
            }
        )
    return sorted(rows, key=lambda row: (-row["f1"], -row["precision"], row["name"], row["code"]))


def detected(table: Detectors, precision: float = DETECTS_FROM) -> list[str]:
    """Return the names of which some code is a detector: precise at ``precision`` or more."""
    best = table.precision.max(axis=0, initial=0.0)
    return [name for name, value in zip(table.names, best, strict=True) if value >= precision]


def agreement(visual: Sequence[dict[str, Any]], spoken: Sequence[dict[str, Any]], top: int = 20) -> dict[str, Any]:
    """Compare what codes stand for in the picture with what they stand for in speech.

    Args:
        visual: ``ranking`` of the codes against what is seen.
        spoken: ``ranking`` against the words said.
        top: How many codes, the best by visual F1, among those that speech uses too.

    Returns:
        ``codes`` compared, ``agreeing`` (share 0–1), ``by_chance`` (the share when the words are dealt to these codes
        at random) and ``pairs``: code, seen, said, agree.
    """
    words = {row["code"]: row["name"] for row in spoken}
    pairs = [(row["code"], row["name"], words[row["code"]]) for row in visual if row["code"] in words][:top]
    matches = [same_meaning(seen, said) for _, seen, said in pairs]
    dealt = [same_meaning(seen, said) for _, seen, _ in pairs for _, _, said in pairs]
    return {
        "codes": len(pairs),
        "agreeing": float(np.mean(matches)) if pairs else 0.0,
        "by_chance": float(np.mean(dealt)) if pairs else 0.0,
        "pairs": [
            {"code": code, "seen": seen, "said": said, "agree": match}
            for (code, seen, said), match in zip(pairs, matches, strict=True)
        ],
    }


def same_meaning(label: str, word: str) -> bool:
    """Whether a label and a spoken word name one thing, by their stems: "moving_right" and "moves" do.

    Simple on purpose: endings of English verbs and nouns are taken off, synonyms are not known.
    """
    parts = label.lower().replace("+", " ").replace("_", " ").replace("-", " ").split()
    return stem(word) in {stem(part) for part in parts}


def stem(word: str) -> str:
    """Take the common endings off an English word: running, runs → run; flashes → flash; moves, moving → mov."""
    word = word.lower()
    for ending in ("ing", "es", "ed", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending)
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiousl":
        word = word[:-1]
    return word
