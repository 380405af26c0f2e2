"""What ``mmretrieval doctor`` tries: each check really uses the part it speaks of."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mmretrieval.environment import environment, installed


class Check(NamedTuple):
    """One line of the doctor: ``needed`` ones decide the exit code."""

    name: str
    ok: bool
    detail: str
    remedy: str
    needed: bool


def run_checks() -> Iterator[Check]:
    """Yield one check after the other, as each is done."""
    facts = environment()
    yield Check("machine", True, f"{facts['processor']}, {facts['cores']} cores, Python {facts['python']}", "", False)
    repair = "pip install --force-reinstall mmretrieval"
    yield _try("torch", _torch, "pip install 'torch==2.11.0' 'torchaudio==2.11.0'", True)
    yield _try("log-mel (torchaudio)", _log_mel, "pip install 'torch==2.11.0' 'torchaudio==2.11.0'", True)
    yield _try("PyAV", _pyav, "pip install --force-reinstall av", True)
    yield _try(
        "decord", _decord, "pip install --force-reinstall decord2   (uninstall 'decord' first if it is there)", True
    )
    yield _try("soundfile", _soundfile, "pip install --force-reinstall soundfile", True)
    yield _try("faiss", _faiss, "pip install --force-reinstall faiss-cpu", True)
    yield _try("recipes", _recipes, repair, True)
    yield _try("espeak-ng (demo)", _voices, "pip install 'mmretrieval[demo]'", False)
    yield _try("Ray (scale)", _ray, "pip install 'mmretrieval[scale]'", False)
    yield _try("Milvus (scale)", _milvus, "pip install 'mmretrieval[scale]'", False)
    yield _try("page (serve)", _page, "pip install 'mmretrieval[web]'", False)


def _try(name: str, attempt: Callable[[], str], remedy: str, needed: bool) -> Check:
    try:
        return Check(name, True, attempt(), remedy, needed)
    except Exception as error:  # whatever is broken about a library is what we are here to tell
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Check(name, False, reason, remedy, needed)


def _torch() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{torch.__version__} on {device}, {torch.get_num_threads()} threads"


def _log_mel() -> str:
    import numpy as np

    from mmretrieval.media.audio import log_mel
    from mmretrieval.types import SpeechSpec

    frames = log_mel(np.sin(np.arange(16_000) * 0.1).astype(np.float32), SpeechSpec())
    return f"torchaudio {installed('torchaudio')}: 1 s of sound → {tuple(frames.shape)}"


def _pyav() -> str:
    import av

    return f"{av.__version__}, H.264 {'encode and decode' if 'libx264' in av.codecs_available else 'decode only'}"


def _decord() -> str:
    import decord

    return f"{installed('decord2') or decord.__version__}"


def _soundfile() -> str:
    import numpy as np
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(160, np.float32), 16_000, format="WAV")
    return f"{soundfile.__version__}, {len(soundfile.available_formats())} formats"


def _faiss() -> str:
    import faiss
    import numpy as np

    index = faiss.IndexFlatIP(4)
    index.add(np.eye(4, dtype=np.float32))
    assert index.search(np.eye(4, dtype=np.float32)[2:3], 1)[1][0, 0] == 2
    return faiss.__version__


def _recipes() -> str:
    from mmretrieval.recipe import shipped_recipes

    names = shipped_recipes()
    if not names:
        raise FileNotFoundError("no recipe was installed with the package")
    return ", ".join(names)


def _ray() -> str:
    import ray

    return ray.__version__


def _milvus() -> str:
    import pymilvus

    lite = installed("milvus-lite")
    return f"pymilvus {pymilvus.__version__}, {f'Milvus Lite {lite}' if lite else 'no Milvus Lite: servers alone'}"


def _voices() -> str:
    import espeakng_loader

    if not Path(espeakng_loader.get_library_path()).is_file():
        raise FileNotFoundError("the espeak-ng library is not where its package says")
    return f"{installed('espeakng-loader')}"


def _page() -> str:
    import fastapi
    import uvicorn

    return f"FastAPI {fastapi.__version__}, uvicorn {uvicorn.__version__}"
