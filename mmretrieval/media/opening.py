"""Files opened with FFmpeg such that nothing but the file itself is read.

FFmpeg also plays lists: of other files, of addresses, of devices. A file that calls itself a video and is such a list
would have whoever indexes or searches it read what its author chose.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

LISTS = frozenset(
    ("concat", "hls", "dash", "webm_dash_manifest", "hds", "smoothstreaming", "imf", "vobsub", "ffmetadata")
    + ("image2", "sdp", "rtsp", "rtp", "sap", "whip", "lavfi", "avisynth", "vapoursynth", "tee")
    + ("alsa", "fbdev", "kmsgrab", "video4linux2", "v4l2", "x11grab")
)
"""FFmpeg's names of what reads other files, addresses or devices."""


def open_alone(path: Path) -> Any:
    """Open a file with PyAV; it is no list, and may name nothing else.

    Raises:
        av.error.FFmpegError: FFmpeg does not know what it is, or it is a list.
    """
    import av

    return av.open(str(path), container_options={"format_whitelist": _known(), "protocol_whitelist": "file"})


@functools.cache
def _known() -> str:
    import av

    return ",".join(sorted(av.formats_available - LISTS))
