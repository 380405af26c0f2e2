"""A Ray cluster: one that is there, or one of this machine alone for as long as it is needed."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmretrieval.environment import cores
from mmretrieval.errors import CollectionError, DependencyError

ANSWER = 5.0
"""Seconds in which a cluster has to answer."""

STARTS = 3
"""How often a start is tried: on a machine that has its hands full Ray can take longer than Ray waits."""

STORE = 128 << 20
"""Bytes of shared memory that a cluster of this machine alone has beside what is put there for good."""


@contextmanager
def connected(address: str | None, shared: int) -> Iterator[Any]:
    """Give the module ``ray``, connected; a connection that was there before is used and stays.

    Args:
        address: Of a cluster as ``host:port``, seen from one of its machines; "auto" is the one that runs on this
            machine; None starts one here, which nobody can reach from elsewhere and which ends with the block.
        shared: Bytes that will be kept in shared memory.

    Raises:
        DependencyError: Ray is not installed.
        CollectionError: There is no such cluster, or it does not answer.
    """
    # said to Ray before it is loaded, and to all processes that it starts
    with _environment({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}):
        ray = _load()
        if ray.is_initialized():
            yield ray
            return
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            with _alone():
                _start(ray, shared + STORE, quiet)
                yield from _until_done(ray)
        else:
            _join(ray, address, quiet)
            yield from _until_done(ray)


def _until_done(ray: Any) -> Iterator[Any]:
    try:
        yield ray
    finally:
        ray.shutdown()


def _load() -> Any:
    try:
        import ray
    except ImportError:
        raise DependencyError("--runner ray takes Ray: pip install 'mmretrieval[scale]'") from None
    return ray


def _start(ray: Any, store: int, quiet: dict[str, Any]) -> None:
    options = {"num_cpus": max(2, cores()), "include_dashboard": False, "object_store_memory": store, **quiet}
    for attempt in range(1, STARTS + 1):
        try:
            ray.init("local", **options)
            return
        except Exception as error:  # when it takes too long, Ray says so by a bare one
            ray.shutdown()
            _end_remains()
            if attempt == STARTS:
                raise CollectionError(
                    f"no Ray cluster can be started on this machine ({_reason(error)}): run the command again when "
                    f"less else runs, or leave out --runner ray"
                ) from None


def _end_remains() -> None:
    """End what a start that failed has left running: Ray forgets it. Only Linux tells which processes these are."""
    session = re.compile(rf"/session_[0-9_-]+_{os.getpid()}\b")
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if session.search((folder / "cmdline").read_text(errors="replace")):
                os.kill(int(folder.name), signal.SIGKILL)


def _join(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    mend = "start Ray on all machines of the cluster ('ray start'), and run this on one of them"
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or "/" in host or not port.isdigit():
            raise CollectionError(f"'{address}' is no address of a Ray cluster: give host:port, or auto")
        try:
            socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
        except (OSError, OverflowError) as error:
            # Ray itself would try for minutes
            reason = getattr(error, "strerror", None) or str(error)
            raise CollectionError(f"no Ray cluster answers at {address} ({reason.lower()}): {mend}") from None
    try:
        ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if "RAY_AUTH_MODE" not in os.environ:
            mend += "; if it was started with a token, set RAY_AUTH_MODE=token"
        where = "on this machine" if address == "auto" else f"at {address}"
        raise CollectionError(f"no Ray cluster can be joined {where} ({_reason(error)}): {mend}") from None


def _reason(error: Exception) -> str:
    """Return the first line of what Ray says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")


@contextmanager
def _alone() -> Iterator[None]:
    """Let a cluster that is started be reachable from this machine alone."""
    from ray._private import ray_constants

    # the variable is for the processes that Ray starts, the constant was read from it when Ray was loaded
    before = ray_constants.ENABLE_RAY_CLUSTER
    with _environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            yield
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
