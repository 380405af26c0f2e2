"""Clusters that are not there, each told in one line and at once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from mmretrieval.collection import Collection
from mmretrieval.collection.cluster import connected
from mmretrieval.errors import CollectionError, DependencyError

MEND = "start Ray on all machines of the cluster ('ray start'), and run this on one of them"


def refusal(address: str | None) -> str:
    with pytest.raises((CollectionError, DependencyError)) as caught, connected(address, 0):
        pass
    return str(caught.value)


def test_ray_is_not_installed(monkeypatch, tmp_path, clips, model, run):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refusal(None) == "--runner ray takes Ray: pip install 'mmretrieval[scale]'"
    with pytest.raises(DependencyError):
        Collection.build(tmp_path / "made", [clips], model, "model", runner="ray")
    assert not (tmp_path / "made").exists()


def test_nobody_answers():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # nobody else can take the port, and nobody listens
        port = deaf.getsockname()[1]
        said = refusal(f"127.0.0.1:{port}")
    assert said == f"no Ray cluster answers at 127.0.0.1:{port} (connection refused): {MEND}"


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":6379", "http://head:8265"])
def test_no_address(address):
    assert refusal(address) == f"'{address}' is no address of a Ray cluster: give host:port, or auto"


def failing(monkeypatch, error: Exception) -> None:
    import ray

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(ray, "init", fail)


def test_a_cluster_that_does_not_start(monkeypatch):
    failing(monkeypatch, Exception("The current node timed out during startup.\nMore of it."))
    assert refusal(None) == (
        "no Ray cluster can be started on this machine (The current node timed out during startup): run the command "
        "again when less else runs, or leave out --runner ray"
    )
    assert not {"RAY_USAGE_STATS_ENABLED"} & os.environ.keys()


def test_what_a_start_that_failed_has_left_is_ended(monkeypatch):
    program = "import time; time.sleep(600)"
    left, other = (
        subprocess.Popen(
            [sys.executable, "-c", program, f"--log_dir=/tmp/ray/session_2026-01-01_00-00-00_1_{owner}/logs"]
        )
        for owner in (os.getpid(), 1)
    )
    try:
        failing(monkeypatch, Exception("too slow"))
        refusal(None)
        assert left.wait(60) == -signal.SIGKILL and other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    ("mode", "hint"), [(None, "; if it was started with a token, set RAY_AUTH_MODE=token"), ("token", "")]
)
def test_no_cluster_runs_here(monkeypatch, mode, hint):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    failing(
        monkeypatch, ConnectionError("Could not find any running Ray instance. Please specify the one to connect to.")
    )
    assert refusal("auto") == (
        "no Ray cluster can be joined on this machine (Could not find any running Ray instance. Please specify the one "
        f"to connect to): {MEND}{hint}"
    )
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ


def test_an_unknown_runner(tmp_path, clips, model):
    with pytest.raises(CollectionError) as caught:
        Collection.build(tmp_path / "made", [clips], model, "model", runner="spark")
    assert str(caught.value) == "unknown runner 'spark': use one of local, ray"
