"""Every test process computes on one thread: as many processes as cores run side by side."""

import os
import sys

import pytest

os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command in this process: exit code, stdout, stderr."""

    def call(*arguments) -> tuple[int, str, str]:
        from mmretrieval.cli.main import main

        monkeypatch.setattr(sys, "argv", ["mmretrieval", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return caught.value.code or 0, captured.out, captured.err

    return call
