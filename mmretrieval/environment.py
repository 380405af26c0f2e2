"""What this machine and this installation are, for reports that are read years later and for ``doctor``."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "mmretrieval", "torch", "torchaudio", "accelerate", "transformers", "faiss-cpu", "decord2", "av", "librosa",
    "soundfile", "tokenizers", "scikit-learn", "pyarrow", "numpy", "espeakng-loader",
)  # fmt: skip


def environment() -> dict:
    """Return Python, platform, processor counts and the versions of every package that shapes a result."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "packages": {name: installed(name) for name in PACKAGES},
    }


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed(distribution: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
