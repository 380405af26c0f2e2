"""The numbers of a study: every metric of every finished run, means over seeds, differences to the baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, NamedTuple

from mmretrieval.study.plan import Metric, Run, Study
from mmretrieval.study.runner import FINISHED, Ledger, state_of
from mmretrieval.study.timing import SECTION, read_times


class Spread(NamedTuple):
    """Mean and standard deviation (divisor n − 1; None for one value) of n values."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Return the spread of values; None of none."""
        if not values:
            return None
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Row:
    """What is known of one label.

    Attributes:
        label: The label.
        overrides: What it changes.
        seeds: Seeds that are finished.
        values: Metric → seed → value.
        seconds: Seed → how long it took.
        failures: Seed → why it failed.
        missing: Seeds that have not been trained to their end.
    """

    label: str
    overrides: list[str]
    seeds: list[int]
    values: dict[str, dict[int, float]]
    seconds: dict[int, float]
    failures: dict[int, str]
    missing: list[int]

    def spread(self, metric: str) -> Spread | None:
        """Return mean and deviation over seeds."""
        return Spread.of(list(self.values[metric].values()))


@dataclass(frozen=True)
class Results:
    """All rows of a study, in its order, and the machines they were trained on."""

    study: Study
    rows: list[Row]
    machines: list[str]
    notes: list[str]

    def best(self, metric: str) -> Row | None:
        """Return the row with the best mean; None where no value is better than another, or there is none."""
        better = self.study.metrics[metric].better
        rows = [row for row in self.rows if row.spread(metric)]
        if better == "none" or len(rows) < 2:
            return None
        return (max if better == "higher" else min)(rows, key=lambda row: row.spread(metric).mean)

    def near_best(self, row: Row, metric: str) -> bool:
        """Return whether a row lies within one standard deviation, the larger of the two, of the best one."""
        best, own = self.best(metric), row.spread(metric)
        if best is None or own is None or row is best:
            return False
        top = best.spread(metric)
        return abs(top.mean - own.mean) <= max(top.std or 0.0, own.std or 0.0)

    def difference(self, row: Row, metric: str) -> Spread | None:
        """Return the difference to the baseline, paired by seed; None for the baseline itself or without one."""
        baseline = next((other for other in self.rows if other.label == self.study.baseline), None)
        if baseline is None or row is baseline:
            return None
        mine, theirs = row.values[metric], baseline.values[metric]
        return Spread.of([mine[seed] - theirs[seed] for seed in mine if seed in theirs])


def collect(study: Study, runs: Sequence[Run], ledger: Ledger) -> Results:
    """Read the reports of the finished runs, and how fast their networks are."""
    rows, machines, known = [], {}, []
    times = read_times(ledger.file.parent)
    for label, overrides in study.runs.items():
        row = Row(label, overrides, [], {name: {} for name in study.metrics}, {}, {}, [])
        for run in (run for run in runs if run.label == label):
            state, detail = state_of(run)
            if state != FINISHED:
                row.missing.append(run.seed)
                reason = detail if state not in ("new", "started") else ledger.failure(run)
                if reason:
                    row.failures[run.seed] = reason
                continue
            report = json.loads((run.folder / "report.json").read_text("utf-8"))
            if label in times:  # one network of each: repeated for every seed they would feign a deviation of 0
                report[SECTION] = times.pop(label)
            known.append(report)
            row.seeds.append(run.seed)
            row.seconds[run.seed] = ledger.seconds(run) or sum(report["stages"].values())
            machines[_machine(report["environment"])] = None
            for name, metric in study.metrics.items():
                value = value_of(report, metric)
                if value is not None:
                    row.values[name][run.seed] = value
        rows.append(row)
    results = Results(study, rows, list(machines), _unknown_keys(study, known))
    return Results(study, _ordered(results), results.machines, results.notes) if study.order == "best" else results


def value_of(report: Mapping[str, Any], metric: Metric) -> float | None:
    """Return a metric of a report: the scaled mean over its keys; None where one of them has no number."""
    values = [look_up(report, key) for key in metric.keys]
    return None if any(value is None for value in values) else metric.scale * fmean(values)


def look_up(report: Any, key: str) -> float | None:
    """Return the number at a dotted key, ``retrieval.mean.recall@1`` or ``losses.-1``; None where there is none."""
    for part in key.split("."):
        try:
            report = report[int(part)] if isinstance(report, list) else report[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    number = isinstance(report, int | float) and math.isfinite(report)
    return float(report) if number else None


def _unknown_keys(study: Study, reports: Sequence[Mapping]) -> list[str]:
    """Name the keys that no report has: most likely misspelt."""
    notes = []
    for name, metric in study.metrics.items():
        for key in metric.keys:
            if not reports or any(look_up(report, key) is not None for report in reports):
                continue
            if key.split(".")[0] == SECTION and not any(SECTION in report for report in reports):
                notes.append(f"{name}: networks are timed when all runs are done")
            else:
                notes.append(f"{name}: no finished run has a number at '{key}' in its report.json")
    return notes


def _ordered(results: Results) -> list[Row]:
    first = next(iter(results.study.metrics))
    sign = 1 if results.study.metrics[first].better == "lower" else -1

    def place(row: Row) -> float:
        spread = row.spread(first)
        return math.inf if spread is None else sign * spread.mean

    return sorted(results.rows, key=place)


def _machine(environment: Mapping[str, Any]) -> str:
    packages = environment["packages"]
    precision = environment.get("precision")
    return (
        f"{environment['processor']}, {environment['cores']} cores, Python {environment['python']}, torch "
        f"{packages['torch']}, mmretrieval {packages['mmretrieval']}" + (f", {precision}" if precision else "")
    )
