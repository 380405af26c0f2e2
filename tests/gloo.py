"""Two gloo processes on this machine, each running a worker file that writes what it found."""

import os
import subprocess
import sys
from pathlib import Path

import torch

LIMIT = 270
"""Seconds; below those after which pytest ends itself, which would leave the two behind."""


def run_two(worker: Path, folder: Path) -> list:
    """Run ``worker`` as rank 0 and as rank 1 of two processes; return what each saved as ``folder/RANK.pt``."""
    path = os.pathsep.join([str(worker.parents[1]), str(worker.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    running = [
        subprocess.Popen(
            [sys.executable, str(worker), str(rank), "2", str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in running:
            errors = process.communicate(timeout=LIMIT)[1]
            assert process.returncode == 0, errors
    finally:
        for process in running:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
