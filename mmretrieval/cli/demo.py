"""``mmretrieval demo``: the whole journey on the toy world, from nothing to answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

CLIPS, RECIPE = 5000, "toyworld/demo"
QUICK_CLIPS, QUICK_RECIPE = 1500, "toyworld/quick"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer clips and passes, lower recall.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world and of the training.")] = 0,
) -> None:
    """Render a little narrated world, train a model on it, index its test clips and ask them by keyboard and voice.

    An interrupted demo goes on where it was when the same command is given again.

    Example: mmretrieval demo --quick
    """
    from mmretrieval.evaluation.retrieval import format_report

    stages = _Stages(out / "stages.json")
    world, run, collection = out / "world", out / "run", out / "collection"
    with stages.measure("1/4 toy world", "world"):
        from mmretrieval.toyworld.corpus import build

        build(world, clips=QUICK_CLIPS if quick else CLIPS, seed=seed)
    with stages.measure("2/4 training and evaluation", "train"):
        report = _train(QUICK_RECIPE if quick else RECIPE, world, run, seed)
        typer.echo(format_report(report["retrieval"]))
        typer.echo(_codes_line(report["codes"]))
    with stages.measure("3/4 collection of the test clips", "index"):
        searcher = _index(world, run / "model", collection)
    with stages.measure("4/4 questions nobody has asked before", "ask"):
        answers = _ask(searcher, world)
        _draw(answers, out / "answers.png")
    _write_report(out / "report.json", report, stages.seconds, answers)
    _say_what_next(out, run, collection, answers, stages.seconds)


class _Stages:
    """Seconds by stage, of all starts of an interrupted demo together."""

    def __init__(self, file: Path):
        self.file = file
        try:
            self.seconds: dict[str, float] = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):  # a first start, or a file that somebody has edited: nothing depends on it
            self.seconds = {}

    @contextmanager
    def measure(self, title: str, name: str) -> Iterator[None]:
        """Run a stage, and note what it took also if it is interrupted."""
        from mmretrieval.files import atomic_write

        typer.echo(f"\n── {title} " + "─" * max(0, 60 - len(title)))
        before, started = self.seconds.get(name, 0.0), time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(before + time.monotonic() - started, 1)
            self.file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self.file, json.dumps(self.seconds) + "\n")
        typer.echo(f"   {self.seconds[name]:.0f} s")


def _train(recipe: str, world: Path, run: Path, seed: int) -> dict:
    from mmretrieval.recipe import load_recipe
    from mmretrieval.run import train

    splits = [f"data.{split}={json.dumps(str(world / f'{split}.jsonl'))}" for split in ("train", "val", "test")]
    overrides = [
        *splits,
        f"data.cache={json.dumps(str(run / 'cache'))}",
        f"output={json.dumps(str(run))}",
        f"seed={seed}",
    ]
    return train(load_recipe(recipe, overrides), resume=True)


def _codes_line(codes: dict | None) -> str:
    if codes is None:
        return "no codebook"
    return (
        f"codebook: {codes['used']} of {codes['size']} codes used, perplexity {codes['perplexity']['joint']:.0f}, "
        f"{codes['shared']:.0%} of the used ones shared by at least two modalities"
    )


def _index(world: Path, model_folder: Path, folder: Path):
    from mmretrieval.collection import Collection
    from mmretrieval.model import RetrievalModel
    from mmretrieval.search.searcher import Searcher

    model = RetrievalModel.from_pretrained(model_folder)
    collection = Collection.build(folder, [world / "test.jsonl"], model, model_folder)
    typer.echo(f"{folder}: {len(collection)} moments")
    return Searcher(model, collection)


def _ask(searcher, world: Path) -> list[dict]:
    """Ask three typed and three spoken captions of the test split, the spoken ones in voices training never heard."""
    from mmretrieval.data.manifest import read_manifest

    samples = read_manifest(world / "test.jsonl").samples
    unheard = _unheard_voices(world)
    spoken = [sample for sample in samples if sample.id in unheard] or samples
    answers = []
    for kind, chosen in (("typed", _spread(samples, 3)), ("spoken", _spread(spoken, 3))):
        for sample in chosen:
            query = {"text": sample.text} if kind == "typed" else {"speech": sample.speech}
            hits = searcher.search(**query, k=5)
            answers.append(
                {"kind": kind, "caption": sample.text, "speech": sample.speech, "id": sample.id, "hits": hits}
            )
            _print_answer(answers[-1])
    return answers


def _unheard_voices(world: Path) -> set[str]:
    """Return the test clips narrated by a voice that no training clip has."""
    rows = [json.loads(line) for line in (world / "truth.jsonl").read_text("utf-8").splitlines()]
    heard = {row["narration"]["voice"] for row in rows if row["split"] == "train"}
    return {row["id"] for row in rows if row["split"] == "test" and row["narration"]["voice"] not in heard}


def _spread(samples: list, count: int) -> list:
    """Return ``count`` samples from all over the list."""
    return [samples[(2 * index + 1) * len(samples) // (2 * count)] for index in range(count)]


def _print_answer(answer: dict) -> None:
    typer.echo(f"\n{answer['kind']}: “{answer['caption']}”")
    for hit in answer["hits"][:3]:
        mark = "  ← the clip it describes" if hit.id == answer["id"] else ""
        typer.echo(f"  {hit.rank}  {hit.score:.3f}  {Path(hit.path).name}{mark}")


def _draw(answers: list[dict], png: Path) -> None:
    from mmretrieval.search.contact_sheet import contact_sheet

    contact_sheet([(f"{a['kind']}: “{a['caption']}”", a["hits"], a["id"]) for a in answers], png)


def _write_report(file: Path, report: dict, stages: dict[str, float], answers: list[dict]) -> None:
    from mmretrieval.files import atomic_write
    from mmretrieval.search.searcher import hits_to_json

    kept = {name: report[name] for name in ("retrieval", "codes", "environment")}
    asked = [{**answer, "hits": hits_to_json(answer["hits"])} for answer in answers]
    atomic_write(file, json.dumps({**kept, "stages": stages, "answers": asked}, indent=2) + "\n")


def _say_what_next(out: Path, run: Path, collection: Path, answers: list[dict], stages: dict[str, float]) -> None:
    first, spoken = answers[0], answers[-1]
    typer.echo(
        f"""
Done in {sum(stages.values()) / 60:.1f} minutes. Look at {out}/answers.png and {run}/curves.png.
All numbers are in {out}/report.json.

Ask it yourself, by keyboard, by voice (any audio file), or by example:
  mmretrieval search {collection} "{first["caption"]}"
  mmretrieval search {collection} --speech {spoken["speech"]}
  mmretrieval search {collection} --video {first["hits"][0].path} -k 5

Your own folder of videos (the model has only ever seen this little world; see README on training your own):
  mmretrieval index build my-index --model {run}/model ~/Videos
  mmretrieval search my-index "a person jumps in the snow"
"""
    )
