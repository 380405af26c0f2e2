import pytest
import torch

from mmretrieval.data.dataset import ClipDataset, Failure, create_loader
from mmretrieval.errors import MediaError

MODALITIES = ("video", "speech", "text")
BROKEN = "{}: is not a video, or is damaged (invalid data found when processing input)."


def test_training_depends_on_seed_epoch_and_index_only(world, processor):
    def draw(seed, epoch, index):
        dataset = ClipDataset(world, processor, MODALITIES, train=True, seed=seed)
        dataset.set_epoch(epoch)
        return dataset[index].inputs

    first = draw(1, 3, 2)
    assert list(first) == list(MODALITIES)
    again = draw(1, 3, 2)
    assert all(torch.equal(first[name], again[name]) for name in MODALITIES)
    assert not torch.equal(first["video"], draw(1, 4, 2)["video"])
    assert not torch.equal(first["video"], draw(2, 3, 2)["video"])


def test_evaluation_is_the_processor(world, processor):
    dataset = ClipDataset(world, processor, MODALITIES)
    dataset.set_epoch(7)
    item = dataset[0]
    expected = processor.sample(world[0])
    assert item.id == "s0" and all(torch.equal(item.inputs[name], expected[name]) for name in MODALITIES)
    assert len(dataset) == 5


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_dropped_and_told(world, processor, workers):
    dataset = ClipDataset(world, processor, MODALITIES)
    loaded = list(create_loader(dataset, [[0, 4, 2], [4], [1, 3]], workers))
    assert [part.batch and part.batch.ids for part in loaded] == [["s0", "s2"], None, ["s1", "s3"]]
    failure = Failure("broken", BROKEN.format(world[4].video))
    assert [part.failures for part in loaded] == [[failure], [failure], []]
    assert torch.equal(loaded[0].batch.inputs["video"].values[1], processor.video(world[2].video))


def test_bad_files_raise_when_asked(world, processor):
    dataset = ClipDataset(world, processor, MODALITIES, on_bad="raise")
    with pytest.raises(MediaError) as caught:
        dataset[4]
    assert str(caught.value) == BROKEN.format(world[4].video)
    with pytest.raises(ValueError) as caught:
        ClipDataset(world, processor, MODALITIES, on_bad="ignore")
    assert str(caught.value) == "on_bad is 'ignore'; 'raise' and 'skip' are allowed"


def test_only_the_modalities_asked_for_are_read(world, processor):
    dataset = ClipDataset(world, processor, ("speech", "text"))
    assert list(dataset[4].inputs) == ["speech", "text"]  # its video is broken, but nobody looks at it


def test_resumed_epoch_sees_what_the_whole_one_would(world, processor):
    def batches(order):
        dataset = ClipDataset(world, processor, MODALITIES, train=True, seed=5)
        dataset.set_epoch(2)
        return list(create_loader(dataset, order, 1))

    whole, rest = batches([[0, 1], [2, 3]]), batches([[2, 3]])
    for name in MODALITIES:
        assert torch.equal(whole[1].batch.inputs[name].values, rest[0].batch.inputs[name].values)
