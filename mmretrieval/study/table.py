"""The pages of a study: Markdown to read, JSON to compute with, and the picture beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmretrieval.files import atomic_write
from mmretrieval.recipe import shown
from mmretrieval.study.picture import draw
from mmretrieval.study.plan import Metric
from mmretrieval.study.results import Results, Row, Spread
from mmretrieval.study.runner import duration

ARROW = {"higher": " ↑", "lower": " ↓", "none": ""}


def write_pages(folder: Path, results: Results, command: str) -> list[Path]:
    """Write NAME.md, NAME.json and, once there is a value to show, NAME.png.

    Raises:
        StorageError: They cannot be written.
    """
    name = results.study.name
    pages = {f"{name}.md": markdown(results, command), f"{name}.json": as_json(results, command)}
    picture = draw(results)
    if picture is not None:
        pages[f"{name}.png"] = picture
    for file, content in pages.items():
        atomic_write(folder / file, content)
    return [folder / file for file in pages]


def markdown(results: Results, command: str) -> str:
    """Return the study as a page: question, table, differences to the baseline, what failed, how it was made."""
    study = results.study
    drawn = any(row.spread(metric) for row in results.rows for metric in study.metrics)
    blocks = [f"# {study.name}", study.question, _table(results), _legend(results)]
    if study.baseline is not None and len(study.runs) > 1:
        blocks += [f"Difference to {_text(study.baseline)}, paired by seed:", _differences(results)]
    blocks += [f"![{study.name}]({study.name}.png)" if drawn else "", _changes(results), _troubles(results)]
    machines = "; ".join(results.machines) or "nothing is finished"
    blocks.append(f"Made by `{command}`. Trained on: {machines}.")
    return "\n\n".join(block for block in blocks if block) + "\n"


def as_json(results: Results, command: str) -> str:
    """Return everything in the page, and the value of every seed, as JSON."""
    study = results.study
    content = {
        "name": study.name,
        "question": study.question,
        "command": command,
        "machines": results.machines,
        "base": shown(study.base),
        "baseline": study.baseline,
        "metrics": {name: metric.model_dump() for name, metric in study.metrics.items()},
        "runs": [_json_row(results, row) for row in results.rows],
        "notes": results.notes,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _json_row(results: Results, row: Row) -> dict[str, Any]:
    metrics = {}
    for name in results.study.metrics:
        spread = row.spread(name)
        metrics[name] = {
            **(spread._asdict() if spread else {"mean": None, "std": None, "n": 0}),
            "values": {str(seed): value for seed, value in row.values[name].items()},
            "best": row is results.best(name),
            "near_best": results.near_best(row, name),
        }
        difference = results.difference(row, name)
        if difference is not None:
            metrics[name]["difference"] = difference._asdict()
    return {
        "label": row.label,
        "overrides": row.overrides,
        "seeds": row.seeds,
        "seconds": {str(seed): seconds for seed, seconds in row.seconds.items()},
        "metrics": metrics,
        "failures": {str(seed): reason for seed, reason in row.failures.items()},
        "missing": row.missing,
    }


def _table(results: Results) -> str:
    metrics = results.study.metrics
    heads = [_text(name) + (" [%]" if m.percent else "") + ARROW[m.better] for name, m in metrics.items()]
    lines = [["run", "seeds", *heads, "time"]]
    for row in results.rows:
        cells = [_marked(results, row, name) for name in metrics]
        time = Spread.of(list(row.seconds.values()))
        lines.append([_text(row.label), str(len(row.seeds)), *cells, duration(time.mean) if time else "–"])
    return _grid(lines)


def _marked(results: Results, row: Row, name: str) -> str:
    text = show(row.spread(name), results.study.metrics[name])
    if row is results.best(name):
        return f"**{text}**"
    return f"{text} ≈" if results.near_best(row, name) else text


def _legend(results: Results) -> str:
    text = "Mean ± standard deviation over seeds (divisor n − 1) where they differ; time is that of one run."
    if any(results.best(name) for name in results.study.metrics):
        text += " **Bold**: the best mean. ≈: within one standard deviation of it, the larger of the two."
    return text


def _differences(results: Results) -> str:
    metrics = results.study.metrics
    lines = [["run", *map(_text, metrics)]]
    for row in results.rows:
        if row.label == results.study.baseline:
            continue
        lines.append([_text(row.label), *(show(results.difference(row, m), metrics[m], signed=True) for m in metrics)])
    return _grid(lines)


def _changes(results: Results) -> str:
    """Say what each label stands for."""
    base = results.study.base.name
    rows = [f"- {_text(row.label)}: {', '.join(f'`{o}`' for o in row.overrides) or 'as it is'}" for row in results.rows]
    return "\n".join([f"What the runs change in {base}:", "", *rows])


def _troubles(results: Results) -> str:
    lines = [
        f"- {_text(row.label)}, seed {seed}: {reason}" for row in results.rows for seed, reason in row.failures.items()
    ]
    waiting = [
        f"{_text(row.label)}, seed {seed}" for row in results.rows for seed in row.missing if seed not in row.failures
    ]
    parts = ["\n".join(["Failed:", "", *lines])] if lines else []
    parts += [f"Not finished: {'; '.join(waiting)}."] if waiting else []
    parts += [f"Note: {note}." for note in results.notes]
    return "\n\n".join(parts)


def show(spread: Spread | None, metric: Metric, signed: bool = False) -> str:
    """Return a mean and its deviation as people read them; shares in percent."""
    if spread is None:
        return "–"
    scale, form = (100, ".1f") if metric.percent else (1, ".3g")
    mean = f"{scale * spread.mean:{'+' if signed else ''}{form}}"
    return f"{mean} ± {scale * spread.std:{form}}" if spread.std else mean


def _grid(lines: list[list[str]]) -> str:
    head, *rows = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|---" * len(lines[0]) + "|", *rows])


def _text(label: str) -> str:
    return label.replace("|", "\\|")
