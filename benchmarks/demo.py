"""How long the demo takes and how well its model finds things.

    python benchmarks/demo.py [--quick] [--folder DIR] [--out demo.json]

Runs ``mmretrieval demo`` in a process of its own, from nothing, and prints its stages, recalls and code statistics.
Given a folder that already holds a finished demo, it prints that one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run_demo(folder: Path, quick: bool) -> float:
    command = [
        sys.executable,
        "-m",
        "mmretrieval.cli.main",
        "demo",
        "--out",
        str(folder),
        *(["--quick"] if quick else []),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def show(report: dict, wall: float | None) -> None:
    for stage, seconds in report["stages"].items():
        print(f"{stage:24} {seconds:8.1f} s")
    if wall is not None:
        print(f"{'whole process':24} {wall:8.1f} s")
    for direction, row in report["retrieval"].items():
        if "_to_" in direction:
            print(f"{direction:24} R@1 {row['recall@1']:6.1%}   R@10 {row['recall@10']:6.1%}   mAP {row['map']:6.1%}")
    codes = report["codes"]
    print(f"{'codes':24} {codes['used']} of {codes['size']} used, perplexity {codes['perplexity']['joint']:.0f}, "
          f"shared {codes['shared']:.0%}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch) / "demo"
        finished = (folder / "report.json").is_file()
        wall = None if finished else run_demo(folder, arguments.quick)
        report = json.loads((folder / "report.json").read_text("utf-8"))
    show(report, wall)
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"wall_seconds": wall, **report}, indent=2) + "\n")


if __name__ == "__main__":
    main()
