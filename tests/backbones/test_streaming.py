"""Frame by frame is the same as all at once, for every network that never looks ahead."""

import math
import threading

import pytest
import torch
from backbone_checks import PIXELS, settled

from mmretrieval.backbones.deploy import deploy
from mmretrieval.backbones.streaming import Stream
from mmretrieval.encoders.video import VideoEncoder
from mmretrieval.errors import ModelError
from mmretrieval.types import Padded

FRAMES = 19


def causal(name, **options):
    return settled(name, causal=True, **options)


def videos(count=2, frames=FRAMES, seed=5):
    return torch.randn(count, frames, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(seed))


def offline(net, clips):
    """(B, T', h·w, D)."""
    with torch.no_grad():
        features = net(Padded(clips, torch.ones(clips.shape[:2], dtype=torch.bool)))
    return features.values.unflatten(1, (features.grid[0], -1))


def online(stream, clips):
    """The features of those frames that give some, and which these are."""
    given = [stream.step(frame) for frame in clips.unbind(1)]
    assert all(features is None or (features.mask.all() and features.grid[0] == 1) for features in given)
    return torch.stack([f.values for f in given if f is not None], 1), [t for t, f in enumerate(given) if f is not None]


def same(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


VARIANTS = [
    *[("tsm_resnet_test", {}), ("tam_resnet_test", {}), ("tsm_inception_v1_test", {}), ("tam_inception_v1_test", {})],
    *[(f"{kind}_resnet_tiny", {"temporal_pool": pool}) for kind in ("tsm", "tam") for pool in ("max", "avg")],
    *[(f"{kind}_inception_v1_test", {"temporal_pool": "max"}) for kind in ("tsm", "tam")],
    ("tam_resnet_test", {"blending_frames": 5, "blending_method": "max", "temporal_pool": "avg"}),
    ("tam_resnet_test", {"blending_frames": 1, "temporal_pool": "max"}),
    ("tam_resnet_test", {"depthwise": False, "blending_frames": 4, "aggregated_shortcut": True}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_stream_gives_the_features_of_the_whole_clip(name, options):
    net, clips = causal(name, **options), videos()
    features, frames = online(Stream(net), clips)
    same(features, offline(net, clips))
    assert frames == list(range(0, FRAMES, net.temporal_stride))


def test_the_first_frame_is_a_clip_of_one():
    net, clips = causal("tam_resnet_test"), videos()
    same(Stream(net).step(clips[:, 0]).values, offline(net, clips[:, :1])[:, 0])


@pytest.mark.parametrize("name", ["tsm_resnet_test", "tam_inception_v1_test"])
def test_streams_on_one_network_do_not_meet(name):
    net, clips = causal(name, temporal_pool="max"), videos(3)
    streams = [Stream(net) for _ in clips]
    given = [[] for _ in clips]
    for frame in clips.unbind(1):
        for stream, one, seen in zip(streams, frame.split(1), given, strict=True):
            seen += [features.values] if (features := stream.step(one)) else []
    for seen, clip in zip(given, clips.split(1), strict=True):
        same(torch.stack(seen, 1), offline(net, clip))


def test_streams_run_in_threads():
    net, clips = causal("tsm_resnet_test"), videos(4)
    found = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: online(Stream(net), clips[n : n + 1])[0]}))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(torch.cat([found[n] for n in range(4)]), offline(net, clips))


@pytest.mark.parametrize("cut", [1, 2, 3, 6])
def test_a_stream_is_handed_over(cut, tmp_path):
    net, clips = causal("tam_resnet_tiny", temporal_pool="avg"), videos()
    first, second = Stream(net), Stream(net)
    begun, _ = online(first, clips[:, :cut])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    online(first, clips[:, :5])  # what the first does from here does not matter
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    rest = [features.values for frame in clips[:, cut:].unbind(1) if (features := second.step(frame))]
    same(torch.cat([begun, torch.stack(rest, 1)], 1), offline(net, clips))


def test_some_of_the_videos_go_on_elsewhere():
    net, clips = causal("tam_resnet_test", temporal_pool="max"), videos(3)
    first, second = Stream(net), Stream(net)
    begun, _ = online(first, clips[:, :4])
    second.load_state_dict({name: tensor[1:2] for name, tensor in first.state.items()})
    rest, _ = online(second, clips[1:2, 4:])
    same(torch.cat([begun[1:2], rest], 1), offline(net, clips[1:2]))


def test_the_state_has_names_and_a_size_that_stays():
    stream, sizes = Stream(causal("tam_resnet_tiny", temporal_pool="max")), []
    assert stream.state == {} and stream.state_dict() == {}
    for frame in videos(1, 12).unbind(1):
        stream.step(frame)
        held = stream.state.values()
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in held))
    assert list(stream.state) == ["layer1.0.tam", "temporal_pool", "layer2.0.tam", "temporal_pool:2", "layer3.0.tam"]
    assert stream.state["layer1.0.tam"].shape == (1, 2, 16, PIXELS // 2, PIXELS // 2)
    assert max(sizes) == max(sizes[:4]) and sizes[:4] == sizes[4:8] == sizes[8:]
    shifted = Stream(causal("tsm_resnet_tiny"))
    shifted.step(videos()[:, 0])
    kept = shifted.state["layer1.0.tsm"]
    assert kept.shape == (2, 2, PIXELS // 2, PIXELS // 2) and kept.untyped_storage().nbytes() == 4 * kept.numel()


def test_reset_begins_anew():
    net, clips = causal("tsm_resnet_test", temporal_pool="max"), videos()
    stream = Stream(net)
    online(stream, videos(1, 3, seed=8))
    stream.reset()
    same(online(stream, clips)[0], offline(net, clips))


def test_the_network_is_untouched_and_shared():
    net, clips = causal("tsm_resnet_test"), videos()
    expected, keys = offline(net, clips), list(net.state_dict())
    stream = Stream(net.train())
    online(stream, clips)
    assert net.training and all(part.training for part in net.modules()) and list(net.state_dict()) == keys
    assert torch.equal(offline(net.eval(), clips), expected)  # no statistics were counted either
    with torch.no_grad():
        net.conv1.weight.mul_(2)
    net.double()
    stream.reset()
    same(online(stream, clips.double())[0], offline(net, clips.double()))


def test_a_video_encoder_takes_frames_as_they_are_decoded():
    net = VideoEncoder(causal("tam_resnet_test"))
    clips = (videos().sigmoid() * 255).to(torch.uint8)
    same(online(Stream(net), clips)[0], offline(net, clips))


@pytest.mark.parametrize("name", ["resnet_test", "inception_v1_test"])
def test_frames_that_stay_apart_need_no_memory(name):
    net, clips = settled(name), videos()
    stream = Stream(net)
    same(online(stream, clips)[0], offline(net, clips))
    assert stream.state == {}


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("tsm_resnet_test", {}, "'layer1.0.tsm' looks at frames to come"),
        ("tam_inception_v1_test", {}, "'tam1' looks at frames to come"),
        ("resnet_test", {"temporal_pool": "max"}, "'temporal_pool' looks at frames to come"),
        ("s3d_test", {}, "Inception3d needs whole clips"),
        ("r2plus1d_test", {}, "R2Plus1d needs whole clips"),
    ],
)
def test_networks_that_cannot(name, options, reason):
    with pytest.raises(ModelError) as caught:
        Stream(settled(name, **options))
    assert str(caught.value) == (
        f"this network cannot run frame by frame: {reason}; train a TSM or TAM network built with causal=True"
    )


def test_networks_of_networks_that_repeat_frames():
    trunks = {"spatial": "resnet_test", "temporal": "resnet_test", "spatial_frames": 2}
    with pytest.raises(ModelError, match="TwoTrunk needs whole clips"):
        Stream(VideoEncoder(settled("two_trunk", **trunks)))


@pytest.mark.parametrize("name", ["tsm_inception_v1_test", "tam_resnet_test"])
def test_deployed_networks(name):
    net, clips = causal(name, temporal_pool="max"), videos()
    same(online(Stream(deploy(net)), clips)[0], offline(net, clips))
    whole = Padded(clips, torch.ones(clips.shape[:2], dtype=torch.bool))
    integers = deploy(net, "int8", [whole], bound=math.inf)
    same(online(Stream(integers), clips)[0], offline(integers, clips))
    with pytest.raises(ModelError, match="R2Plus1d needs whole clips"):
        Stream(deploy(settled("r2plus1d_test")))


def test_tam_that_only_looks_back_needs_no_option():
    net, clips = settled("tam_resnet_test", blending_frames=2), videos()
    same(online(Stream(net), clips)[0], offline(net, clips))


def test_other_frames_than_before_leave_the_stream_as_it_was():
    net, clips = causal("tsm_resnet_test"), videos()
    stream = Stream(net)
    stream.step(clips[:, 0])
    for wrong, got in ((videos(3), "(3, 8, 8)"), (videos()[..., :8], "(2, 8, 4)")):
        with pytest.raises(ModelError) as caught:
            stream.step(wrong[:, 1])
        assert str(caught.value) == (
            "frames of another number or size than before: 'layer1.0.tsm' remembers maps of (2, 8, 8) (videos, height, "
            f"width), got {got}: reset() the stream, or begin one for each size"
        )
    same(stream.step(clips[:, 1]).values, offline(net, clips)[:, 1])


def test_the_state_of_another_network():
    stream = Stream(causal("tsm_resnet_test"))
    stream.step(videos()[:, 0])
    with pytest.raises(ModelError) as caught:
        Stream(causal("tam_resnet_test")).load_state_dict(stream.state_dict())
    assert str(caught.value) == (
        "this state of a stream is of another network: it knows 'layer1.0.tsm', and this one remembers in "
        "layer1.0.tam, layer2.0.tam"
    )
