"""``mmretrieval recognize``: what does this video show?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmretrieval.shown import one_line


def recognize(
    model: Annotated[Path, typer.Argument(help="The folder of a saved recognition model.")],
    videos: Annotated[list[Path], typer.Argument(help="Video files.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Classes to show.")] = 5,
    clips: Annotated[int, typer.Option(min=1, help="Excerpts of each video; logits are averaged.")] = 1,
    crops: Annotated[int, typer.Option(help="Squares cut out of each of them: 1, 3, 5 or 10.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers for scripts.")] = False,
) -> None:
    """Say which classes video files show, the most probable first.

    A file that cannot be read costs one line; exit code 1 says that there was one.

    Example:
      mmretrieval recognize runs/actions/model holiday.mp4 -k 3
    """
    from mmretrieval.errors import MediaError
    from mmretrieval.media.views import Views
    from mmretrieval.recognizer import Recognizer

    views = Views(clips, crops)
    recognizer = Recognizer.from_pretrained(model)
    answers, failed = {}, False
    for video in videos:
        try:
            [guesses] = recognizer.recognize([video], k, views)
        except MediaError as error:
            typer.echo(f"mmretrieval: {one_line(error)}", err=True)
            failed = True
            continue
        answers[str(video)] = [guess._asdict() for guess in guesses]
        if not as_json:
            typer.echo(one_line(video))
            for guess in guesses:
                typer.echo(f"  {guess.probability:6.1%}  {one_line(guess.label)}")
    if as_json:
        typer.echo(json.dumps(answers, indent=2, ensure_ascii=False))
    raise typer.Exit(1 if failed else 0)
