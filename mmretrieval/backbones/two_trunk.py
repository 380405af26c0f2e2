"""Two trunks on one clip: a 2-D network on a few frames beside a network that mixes time, as in Spoken Moments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmretrieval.backbones.names import backbones
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import masked_mean, zero_padding
from mmretrieval.types import Backbone, ClipSpec, Features, Padded


class TwoTrunk(nn.Module):
    """The video encoder of Spoken Moments (arXiv 2105.04489, §4.1): ResNet-152 on 3 frames, TSM ResNet-50 on all 8.

    Each frame of a trunk is averaged over its places. Features are one position per frame of the clip, the 2-D half
    before the temporal half; a frame that the 2-D trunk did not see repeats its half from the nearest frame that it
    did see (the earlier one of two). The maximum over positions is therefore the two maxima over time of the paper,
    side by side, so ``pool: max`` gives the published 4096 numbers; ``norm: l2`` then brings each trunk's half to unit
    length. The paper does not say whether it does; its authors' other code does.

    Args:
        spatial: The 2-D trunk; it sees each of its frames apart.
        temporal: The trunk that sees every frame. If it shortens time, its positions repeat to the length of the clip.
        spec: The clips it expects.
        spatial_frames: Which frames the 2-D trunk sees. A number takes the centres of so many equal parts of the real
            frames: of 8 frames 1, 4 and 6, which is 1 fps on a clip of three seconds. A list names the frames, 0 the
            first: [0, 3, 6] is what a public re-implementation takes. Frames beyond the last real one become the last.

    Raises:
        ModelError: No frame, or a frame that the clip does not have.
    """

    def __init__(self, spatial: Backbone, temporal: Backbone, spec: ClipSpec, spatial_frames: int | Sequence[int] = 3):
        super().__init__()
        count = spatial_frames if isinstance(spatial_frames, int) else len(spatial_frames)
        named = range(count) if isinstance(spatial_frames, int) else spatial_frames
        if count < 1 or any(not 0 <= frame < spec.frames for frame in named):
            raise ModelError(
                f"spatial_frames is {spatial_frames}: give 1 to {spec.frames}, or a list of frames from 0 to "
                f"{spec.frames - 1}"
            )
        self.spatial = spatial
        self.temporal = temporal
        self.spec = spec
        self.spatial_frames = spatial_frames
        self.feature_groups = (spatial.feature_dim, temporal.feature_dim)
        self.feature_dim = sum(self.feature_groups)

    def forward(self, frames: Padded) -> Features:
        """Clips (B, T, C, H, W), normalised by ``spec``, to features (B, T, D) with grid (T, 1, 1)."""
        length = frames.mask.shape[1]
        seen, nearest = self._choose(frames.mask)
        clips = torch.arange(len(seen), device=seen.device)[:, None]
        still = _per_frame(self.spatial(Padded(frames.values[clips, seen], frames.mask[clips, seen])))
        moving = _per_frame(self.temporal(frames))
        steps = moving.mask.shape[1]
        stretch = torch.arange(length, device=seen.device) * steps // length
        mask = frames.mask & moving.mask[:, stretch]
        values = torch.cat([still.values[clips, nearest], moving.values[:, stretch]], dim=2)
        if not bool(mask.all()):
            values = zero_padding(values, mask)
        return Features(values, mask, (length, 1, 1), {**still.costs, **moving.costs})

    def _choose(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames (B, n) that the 2-D trunk sees, and for each frame (B, T) the nearest of those n."""
        real = mask.sum(dim=1, keepdim=True)
        if isinstance(self.spatial_frames, int):
            parts = torch.arange(self.spatial_frames, device=mask.device)
            order = (2 * parts + 1) * real // (2 * self.spatial_frames)
        else:
            order = torch.tensor(self.spatial_frames, device=mask.device).minimum(real - 1).clamp_min(0)
        # the n-th real frame of each clip: real frames first, in playing order
        places = (~mask).long().argsort(dim=1, stable=True)
        rank = mask.cumsum(dim=1) - 1
        nearest = (rank[:, :, None] - order[:, None, :]).abs().argmin(dim=2)
        return places.gather(1, order), nearest


def _per_frame(features: Features) -> Features:
    """Average the real places of each frame: (B, T·h·w, D) to (B, T, D)."""
    rows = (len(features.values), features.grid[0])
    mask = features.mask.unflatten(1, (features.grid[0], -1))
    values = features.values.unflatten(1, (features.grid[0], -1))
    if bool(mask.all()):
        values = values.mean(dim=2)
    else:
        values = masked_mean(values.flatten(0, 1), mask.flatten(0, 1)).unflatten(0, rows)
    return Features(values, mask.any(dim=2), features.grid[:1], features.costs)


@backbones.register()
def two_trunk(
    frames: int = 8,
    size: int = 224,
    spatial: str = "resnet152",
    temporal: str = "tsm_resnet50",
    spatial_frames: int | Sequence[int] = 3,
) -> TwoTrunk:
    """A 2-D network on 3 of the frames beside a TSM network on all, as in Spoken Moments; any two by name."""
    count = spatial_frames if isinstance(spatial_frames, int) else len(spatial_frames)
    still = backbones.get(spatial)(frames=max(1, count), size=size)
    moving = backbones.get(temporal)(frames=frames, size=size)
    if (still.spec.mean, still.spec.std) != (moving.spec.mean, moving.spec.std):
        raise ModelError(f"{spatial} and {temporal} want frames normalised differently: choose two of one kind")
    return TwoTrunk(still, moving, moving.spec, spatial_frames)


@backbones.register()
def two_trunk_test(frames: int = 4, size: int = 16, spatial_frames: int | Sequence[int] = 2) -> TwoTrunk:
    """The smallest pair of trunks, for tests."""
    return two_trunk(frames, size, "resnet_test", "tsm_resnet_test", spatial_frames)
