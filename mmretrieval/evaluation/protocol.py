"""The protocol of the papers: five fixed sets of 1,000 pairs, in files that everybody measures on, and the full set.

Results on sets drawn anew differ by about a point of recall@1 (arXiv 2105.04489 reports ± 0.4 to 2 over its five), so
sets are drawn once and stored: a folder of ``subset-0.txt`` … ``subset-4.txt``, sample ids one per line in the order of
the manifest, and ``subsets.json`` with checksums of them and of the manifest's ids. Only ids count: a manifest that was
imported again elsewhere, with other paths, takes the same files. A folder with nothing but ``.txt`` files, as others
may publish them, is read as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.data.manifest import Sample
from mmretrieval.errors import ManifestError
from mmretrieval.evaluation.retrieval import SUBSET_SEED, SUBSET_SIZE, retrieval_report, subset_rows
from mmretrieval.files import atomic_write
from mmretrieval.types import MODALITIES


class Rules(NamedTuple):
    """How a set is measured.

    ``subsets``: the folder of the index files; None is ``default_folder``, used when there are more than 1,000 pairs.
    ``relevance`` and ``ties`` as in ``retrieval_report``.
    """

    subsets: Path | None = None
    relevance: str = "both"
    ties: str = "position"


DEFAULT_RULES = Rules()


class Subsets(NamedTuple):
    """Stored sets: their files, and the sample ids of each."""

    files: list[Path]
    ids: list[list[str]]


def default_folder(manifest: str | Path) -> Path:
    """Return where the sets of a manifest are stored unless one says otherwise: ``test.subsets`` beside test.jsonl."""
    return Path(manifest).with_suffix(".subsets")


def stored_subsets(manifest: str | Path, samples: Sequence[Sample], folder: Path | None = None) -> Subsets | None:
    """Read the sets of a manifest; draw and store them the first time.

    Sets are drawn among the complete samples, those with every modality that any sample has: so they are the same for
    models of two modalities and of three.

    Args:
        manifest: The manifest's path.
        samples: All its samples.
        folder: Where the files lie or shall lie; None is ``default_folder``.

    Returns:
        The sets; None where no folder was named, nothing is stored and there are no more than 1,000 complete samples.

    Raises:
        ManifestError: Files that are damaged, name unknown ids or belong to another version of the manifest; or a
            folder was named, is empty, and there are too few samples to draw from.
        StorageError: The files cannot be written.
    """
    place = folder or default_folder(manifest)
    if any(place.glob("*.txt")) and not _is_half_drawn(place, samples):
        return read_subsets(place, manifest, samples)
    complete = complete_samples(samples)
    if len(complete) <= SUBSET_SIZE:
        if folder is None:
            return None
        raise ManifestError(
            f"{folder} holds no index files, and {manifest} has only {len(complete)} complete samples: sets of "
            f"{SUBSET_SIZE:,} are drawn from more than that. Leave --subsets out, or name a folder that has them."
        )
    return _draw(place, manifest, [sample.id for sample in samples], [sample.id for sample in complete])


def complete_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples that have every modality that any of them has."""
    present = [name for name in MODALITIES if any(getattr(sample, name) is not None for sample in samples)]
    return [sample for sample in samples if all(getattr(sample, name) is not None for name in present)]


def read_subsets(folder: Path, manifest: str | Path, samples: Sequence[Sample]) -> Subsets:
    """Read stored sets and check them against a manifest.

    Raises:
        ManifestError: As in ``stored_subsets``.
    """
    files = sorted(folder.glob("*.txt"))
    known = {sample.id for sample in samples}
    ids = [_read_ids(file, manifest, known) for file in files]
    record = folder / "subsets.json"
    if record.is_file():
        _check_record(record, files, manifest, [sample.id for sample in samples])
    return Subsets(files, ids)


def subset_rows_of(subsets: Subsets, ids: Sequence[str]) -> tuple[list[list[int]], list[str]]:
    """Find the rows of stored sets among the samples that were embedded.

    A sample of a set that this model cannot take part with (a modality is missing, a file could not be read) is left
    out of the set and said so.

    Returns:
        The rows of each set, and one warning per set that lost samples.

    Raises:
        ManifestError: A set has lost all its samples.
    """
    place = {name: row for row, name in enumerate(ids)}
    rows, warnings = [], []
    for file, names in zip(subsets.files, subsets.ids, strict=True):
        found = [place[name] for name in names if name in place]
        if not found:
            raise ManifestError(f"{file}: none of its {len(names)} samples could be read or has all modalities needed")
        if len(found) < len(names):
            warnings.append(
                f"{file}: {len(names) - len(found)} of {len(names)} samples are left out, unreadable or lacking a "
                "modality: compare with others only if theirs are, too"
            )
        rows.append(found)
    return rows, warnings


def measure(
    ids: Sequence[str],
    video_ids: Sequence[str],
    embeddings: Mapping[str, Any],
    rules: Rules = DEFAULT_RULES,
    subsets: Subsets | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Measure retrieval on the full set and on stored sets.

    Returns:
        The report of ``retrieval_report``, whose ``subsets`` also has ``files``, and warnings for people.

    Raises:
        ManifestError, UnknownNameError, ValueError, ModelError: As in ``subset_rows_of`` and ``retrieval_report``.
    """
    rows, warnings = (None, []) if subsets is None else subset_rows_of(subsets, ids)
    report = retrieval_report(embeddings, video_ids, subsets=rows, relevance=rules.relevance, ties=rules.ties)
    if subsets is not None:
        report["subsets"]["files"] = [str(file) for file in subsets.files]
    return report, warnings


def sameness_warnings(samples: Iterable[Sample], embeddings: Mapping[str, np.ndarray]) -> list[str]:
    """Say what makes a whole modality unable to tell samples apart: one caption for all, or a collapsed model."""
    captions = {sample.text for sample in samples}
    warnings = []
    for name, vectors in embeddings.items():
        if len(vectors) < 2:
            continue
        if name == "text" and len(captions) == 1:
            caption = next(iter(captions))
            warnings.append(
                f"all {len(vectors)} captions are '{_short(caption)}': whatever is measured with text is chance"
            )
        elif (vectors == vectors[0]).all():
            warnings.append(
                f"all {len(vectors)} {name} embeddings are equal: whatever is measured with {name} is chance; "
                "the model has collapsed, or every input is the same"
            )
    return warnings


def _draw(folder: Path, manifest: str | Path, ids: Sequence[str], pool: Sequence[str]) -> Subsets:
    drawn = [[pool[row] for row in rows] for rows in subset_rows(len(pool))]
    for name in (name for names in drawn for name in names):
        if name != name.strip() or len(name.splitlines()) != 1:
            raise ManifestError(
                f"{manifest}: the id {name!r} begins or ends with a space or has several lines: index files hold "
                "one id per line. Rename it."
            )
    files = {folder / f"subset-{number}.txt": "".join(f"{n}\n" for n in names) for number, names in enumerate(drawn)}
    record = {
        "manifest": Path(manifest).name,
        "ids": len(ids),
        "ids_sha256": _sha256("\n".join(ids)),
        "drawn_from": len(pool),
        "size": SUBSET_SIZE,
        "seed": SUBSET_SEED,
        "files": {file.name: _sha256(text) for file, text in files.items()},
    }
    # first what there will be: who comes before the last file, or after an interruption, knows that some are missing
    atomic_write(folder / "subsets.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    for file, text in files.items():
        atomic_write(file, text)
    return Subsets(list(files), drawn)


def _is_half_drawn(folder: Path, samples: Sequence[Sample]) -> bool:
    """Return whether a drawing from these very samples was interrupted, or is going on; drawn again, it is the same."""
    try:
        record = json.loads((folder / "subsets.json").read_text("utf-8"))
        missing = [name for name in record["files"] if not (folder / name).is_file()]
        return bool(missing) and record["ids_sha256"] == _sha256("\n".join(sample.id for sample in samples))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _read_ids(file: Path, manifest: str | Path, known: set[str]) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: cannot be read: {error}") from None
    names: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name:
            continue
        if name not in known:
            raise ManifestError(
                f"{file}, line {number}: {manifest} has no sample '{name}': the sets belong to another manifest. "
                "Name their own folder with --subsets, or an empty one to draw new sets."
            )
        if name in names:
            raise ManifestError(f"{file}, line {number}: '{name}' was already on line {names[name]}")
        names[name] = number
    if not names:
        raise ManifestError(f"{file}: has no sample id: one per line is expected")
    return list(names)


def _check_record(record: Path, files: Sequence[Path], manifest: str | Path, ids: Sequence[str]) -> None:
    try:
        facts = json.loads(record.read_text("utf-8"))
        stored, count, checksum = facts["files"], facts["ids"], facts["ids_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{record}: cannot be read ({type(error).__name__}): restore it, or delete it") from None
    if sorted(stored) != [file.name for file in files]:
        raise ManifestError(
            f"{record.parent}: holds {', '.join(file.name for file in files)}, subsets.json speaks of "
            f"{', '.join(sorted(stored))}: restore the missing ones or empty the folder to draw new sets"
        )
    for file in files:
        if hashlib.sha256(file.read_bytes()).hexdigest() != stored[file.name]:
            raise ManifestError(
                f"{file}: is not as it was written (its SHA-256 differs from subsets.json): restore it, or empty the "
                "folder to draw new sets"
            )
    if _sha256("\n".join(ids)) != checksum:
        raise ManifestError(
            f"{record.parent}: was drawn from {count:,} ids, {manifest} now has {len(ids):,} or other ones: empty the "
            "folder to draw new sets, or name another one with --subsets"
        )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _short(text: str | None, length: int = 40) -> str:
    text = text or ""
    return text if len(text) <= length else text[: length - 1] + "…"
