"""Memory that is freed stays with the process, but not too much of it, and not where somebody has said otherwise."""

import json
import os
import platform
import subprocess
import sys

import pytest

from mmretrieval.allocator import keep_freed_memory

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")

PROGRAM = """
import ctypes, json, resource, sys
from mmretrieval.allocator import KEPT, keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def use(blocks, size):
    made = [libc.malloc(size) for _ in range(blocks)]
    for block in made:
        ctypes.memset(block, 1, size)
    for block in reversed(made):
        libc.free(block)

def faults(blocks, size, rounds=4):
    use(blocks, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        use(blocks, size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

given_back = faults(8, 24 << 20)
said = keep_freed_memory()
kept = faults(8, 24 << 20)
base = resident()
use(1, 200 << 20)
large = resident() - base
use(48, 24 << 20)
print(json.dumps({"said": said, "given_back": given_back, "kept": kept, "large": large, "left": resident() / KEPT}))
"""


def outcome(**environment: str) -> dict:
    tuned = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")
    clean = {name: value for name, value in os.environ.items() if name not in tuned}
    command = [sys.executable, "-c", PROGRAM]
    return json.loads(subprocess.run(command, env={**clean, **environment}, check=True, capture_output=True).stdout)


@on_glibc
def test_what_is_freed_is_kept_up_to_a_limit():
    found = outcome()
    assert found["said"] and found["kept"] < found["given_back"] / 10
    assert found["large"] < 20 << 20  # a block beyond the limit of one went back
    assert found["left"] < 1.5  # and so did what was beyond the limit of all


def test_other_c_libraries_are_left_alone(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False


@on_glibc
@pytest.mark.parametrize("own", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=9"}])
def test_settings_of_ones_own_are_left_alone(own):
    assert not outcome(**own)["said"]
