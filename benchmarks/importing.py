"""How long the import of a release takes, and whether every bad row in it is named.

    python benchmarks/importing.py [--rows 1000] [--out importing.json]

Builds a miniature of each release in its own layout (hard links to one small clip, recording and picture), with faults
planted in it, and imports it: once as usual, once with every media file opened (``--check``). Prints a table and
writes JSON; exits with 1 if a planted fault is not named, or a good row is set aside.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # releases.py

from releases import BUILDERS, Media, make_media  # noqa: E402

from mmretrieval.data.sources import import_source  # noqa: E402


def measure(source: str, folder: Path, rows: int, media: Media) -> dict:
    release = folder / source
    release.mkdir()
    faults = {tuple(fault) for fault in BUILDERS[source](release, rows, media)}
    begin = time.perf_counter()
    report = import_source(source, release, folder / "out" / source)
    seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    checked = import_source(source, release, folder / "checked" / source, check=True, progress=False)
    named = {(str(entry.reason), entry.where) for entry in report.set_aside}
    return {
        "source": source,
        "kept": sum(split.kept for split in report.splits.values()),
        "set_aside": len(report.set_aside),
        "planted": len(faults),
        "not_named": sorted(faults - named),
        "named_wrongly": sorted(named - faults),
        "seconds": round(seconds, 3),
        "files": checked.checked,
        "seconds_with_check": round(time.perf_counter() - begin, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("importing.json"))
    arguments = parser.parse_args()
    names = ("kept", "set aside", "faults", "named", "import", "files", "check")
    print(f"{'source':22}" + "".join(f" {name:>9}" for name in names))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        media = make_media(Path(folder) / "media")
        for source in BUILDERS:
            row = measure(source, Path(folder), arguments.rows, media)
            rows.append(row)
            named = row["planted"] - len(row["not_named"])
            print(
                f"{source:22} {row['kept']:9,} {row['set_aside']:9,} {row['planted']:9} {named:9} "
                f"{row['seconds']:7.2f} s {row['files']:9,} {row['seconds_with_check']:7.2f} s"
            )
    arguments.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(row["not_named"] or row["named_wrongly"] for row in rows))


if __name__ == "__main__":
    main()
