"""Killed at random instants, flipped at random places; ``benchmarks/crash.py`` does the same many times."""

from __future__ import annotations

import random

import crash
import pytest


@pytest.fixture(scope="module")
def killer():
    return crash.Killer()


@pytest.mark.parametrize("seed", range(12))
def test_a_killed_process_leaves_the_generation_before_or_after(killer, tmp_path, seed):
    killer.kill(tmp_path / "killed", seed)


def test_bytes_flipped_anywhere_are_found_and_their_file_named(tmp_path, monkeypatch):
    for name in ("choice.EXACT_BELOW", "choice.QUERIES", "upkeep.TAIL", "upkeep.REMOVED"):
        room, constant = name.split(".")
        monkeypatch.setattr(getattr(crash, room), constant, getattr(getattr(crash, room), constant))
    folder = crash.grown(tmp_path / "grown")
    rng = random.Random(0)
    assert {crash.flip(folder, rng) for _ in range(20)} == {"segment", "index", "manifest"}
