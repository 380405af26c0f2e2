"""Weights that others released: which files there are, of what network, and where their authors offer them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmretrieval.errors import ModelError
from mmretrieval.files import sha256_file


@dataclass(frozen=True)
class Release:
    """A file of weights that somebody released. None of them comes with this package, nor is any downloaded by it.

    Attributes:
        file: Its name.
        url: Where its authors offer it.
        network: Our name of the network it is for.
        dataset: What it was trained on.
        classes: Classes of its classifier.
        top1: Its accuracy there, per cent, as its authors report it.
        license: Of the repository it was released with.
        options: What the network is to be built with, as it was measured.
        sha256: How its checksum begins, as far as that is known; None where nobody says.
    """

    file: str
    url: str
    network: str
    dataset: str
    classes: int
    top1: float
    license: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None

    @property
    def checksum(self) -> str:
        """What is known of the checksum, in words."""
        return f"SHA-256 begins with {self.sha256}" if self.sha256 else "checksum unknown"


_FRAMEWORK = "https://github.com/IBM/action-recognition-pytorch/releases/download/weights-v0.1/"
_TORCHVISION = "https://download.pytorch.org/models/"


def _of_the_framework(dataset: str, kind: str, depth: int, top1: float) -> Release:
    """The 32-frame weights of arXiv 2010.11757, without temporal pooling.

    Their accuracy is that of frames of 256 pixels: 3 crops of 10 clips, every other frame, for Kinetics-400, and 3
    crops of 2 clips with frames spread over the video for Something-Something V2.
    """
    short, classes = {"Kinetics-400": ("K400", 400), "Something-Something V2": ("SSV2", 174)}[dataset]
    file = f"{short}-{kind.upper()}-ResNet-{depth}-f32.pth.tar"
    options = {"frames": 32, "size": 256}
    network = f"{kind}_resnet{depth}"
    return Release(file, _FRAMEWORK + file, network, dataset, classes, top1, "Apache-2.0", options)


def _of_torchvision(
    name: str, digest: str, network: str, top1: float, dataset: str = "ImageNet", classes: int = 1000
) -> Release:
    """Weights whose file name ends with the beginning of their SHA-256."""
    file = f"{name}-{digest}.pth"
    return Release(file, _TORCHVISION + file, network, dataset, classes, top1, "BSD-3-Clause", sha256=digest)


_ALL = (
    _of_the_framework("Kinetics-400", "i3d", 50, 76.61),
    _of_the_framework("Kinetics-400", "tam", 50, 76.18),
    _of_the_framework("Kinetics-400", "i3d", 101, 77.80),
    _of_the_framework("Kinetics-400", "tam", 101, 77.61),
    _of_the_framework("Something-Something V2", "i3d", 50, 62.84),
    _of_the_framework("Something-Something V2", "tam", 50, 63.83),
    _of_the_framework("Something-Something V2", "i3d", 101, 64.29),
    _of_the_framework("Something-Something V2", "tam", 101, 65.32),
    # what the framework begins from
    _of_torchvision("resnet18", "5c106cde", "resnet18", 69.76),
    _of_torchvision("resnet34", "333f7ec4", "resnet34", 73.31),
    _of_torchvision("resnet50", "19c8e357", "resnet50", 76.13),
    _of_torchvision("resnet101", "5d3b4d8f", "resnet101", 77.37),
    _of_torchvision("resnet152", "b121ed2d", "resnet152", 78.31),
    _of_torchvision("googlenet", "1378be20", "inception_v1", 69.78),
    # the same networks, saved anew
    _of_torchvision("resnet18", "f37072fd", "resnet18", 69.76),
    _of_torchvision("resnet34", "b627a593", "resnet34", 73.31),
    _of_torchvision("resnet50", "0676ba61", "resnet50", 76.13),
    _of_torchvision("resnet101", "63fe2227", "resnet101", 77.37),
    _of_torchvision("resnet152", "394f9c45", "resnet152", 78.31),
    _of_torchvision("r2plus1d_18", "91a641e6", "r2plus1d_18", 67.46, "Kinetics-400", 400),
)

RELEASES = {release.file: release for release in _ALL}
"""Released weights by the name of their file."""


def check_release(file: str | Path) -> None:
    """Refuse a file with the name of a released one that is missing or has another checksum; any other file passes.

    Raises:
        ModelError: It is not there: the message says where it was released. Or it is damaged.
    """
    file = Path(file)
    release = RELEASES.get(file.name)
    if release is None:
        return
    if not file.is_file():
        raise ModelError(
            f"no weights at '{file}': they are not part of this package. Download them from {release.url} "
            f"({release.license}, {release.checksum}) and put them there"
        )
    if release.sha256 is not None and not (found := sha256_file(file)).startswith(release.sha256):
        raise ModelError(
            f"{file} is damaged or another file of that name: its SHA-256 begins with {found[:8]}, the released "
            f"one's with {release.sha256}. Download it again from {release.url}"
        )
