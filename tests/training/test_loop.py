"""What the loop asks of a batch before it is trained on."""

import pytest
import tiny
import torch

from mmretrieval.data.dataset import Failure, LoadedBatch
from mmretrieval.errors import MediaError
from mmretrieval.training.loop import _check_readable, to_device
from mmretrieval.types import Batch, Features

BROKEN = [Failure("a", "a.mp4: no video in it"), Failure("b", "b.mp4: cannot be opened")]


class Processes:
    """Accelerate with a second process that brings what it is told."""

    device = torch.device("cpu")

    def __init__(self, *others):
        self.num_processes, self.others = 1 + len(others), others

    def reduce(self, values, how):
        assert how == "sum"
        return values + torch.tensor(self.others, dtype=torch.float32).sum(0)


def loaded(clips, failures=()):
    return LoadedBatch(tiny.batch(clips) if clips else None, list(failures))


def test_clips_and_failures_of_all_processes_are_counted():
    assert _check_readable(loaded(5, BROKEN), Processes()) == (5, 2)
    assert _check_readable(loaded(1, BROKEN), Processes([0, 4, 1])) == (5, 3)


@pytest.mark.parametrize(
    ("clips", "failures", "others", "message"),
    [
        (0, BROKEN, [], "not one clip of a whole batch could be read; the first: a.mp4: no video in it"),
        (
            1,
            BROKEN,
            [],
            "only one clip of a whole batch could be read, with nothing to compare it with; "
            "the first: a.mp4: no video in it",
        ),
        (0, BROKEN, [[0, 3, 0]], "not one clip of a whole batch of one process could be read; the first: a.mp4: "
         "no video in it"),
        (3, [], [[1, 0, 3]], "not one clip of a whole batch of one process could be read; another process names the "
         "files"),
    ],
)  # fmt: skip
def test_nothing_to_compare_is_one_clear_line_on_every_process(clips, failures, others, message):
    with pytest.raises(MediaError) as caught:
        _check_readable(loaded(clips, failures), Processes(*others))
    assert str(caught.value) == message


def test_features_go_to_the_device_like_everything_else():
    features = Features(torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), (3,))
    moved = to_device(Batch(["a", "b"], {"video": features, **tiny.batch(2).inputs}), torch.device("meta"))
    assert list(moved.inputs) == ["video", "speech", "text"]
    moved = to_device(Batch(["a", "b"], {"text": features}), torch.device("meta")).inputs["text"]
    assert isinstance(moved, Features) and moved.values.is_meta and moved.mask.is_meta and moved.grid == (3,)
