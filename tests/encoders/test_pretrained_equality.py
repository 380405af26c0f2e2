"""A pretrained encoder gives what transformers itself gives for the same files, words and samples."""

import foreign
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch.nn import functional as F

from mmretrieval.data.processor import Processor
from mmretrieval.encoders import create_encoder
from mmretrieval.media.audio import front_end
from mmretrieval.media.tokens import PretrainedTokenizer
from mmretrieval.types import Padded

CAPTIONS = ["A red DOG runs", "the blue bird falls over a green car in the sea", "a xyzzy ball"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folders = {}

    def find(family):
        if family not in folders:
            folders[family] = foreign.save(tmp_path_factory.mktemp("foreign") / family.replace(" ", "_"), family)
        return str(folders[family])

    return find


def read(source, modality, family, **options):
    return create_encoder("pretrained", modality=modality, source=source(family), **options)


def theirs(source, family):
    return transformers.AutoModel.from_pretrained(source(family)).eval()


# --- text


def captions(source, family, encoder):
    """The same captions by our processor and by their tokenizer."""
    processor = Processor(text=encoder.spec, tokenizer=PretrainedTokenizer.from_json(encoder.tokenizer_json))
    batch = processor.collate([""] * 3, [{"text": processor.text(caption)} for caption in CAPTIONS])
    tokenizer = transformers.AutoTokenizer.from_pretrained(source(family))
    longest = {"padding": "max_length", "max_length": 20} if family == "siglip" else {"padding": True}
    return batch.inputs["text"], tokenizer(CAPTIONS, return_tensors="pt", **longest)


@pytest.mark.parametrize("family", [*foreign.TEXT, *foreign.DUAL])
def test_tokens_are_the_last_hidden_state(source, family):
    encoder = read(source, "text", family)
    ours, tokens = captions(source, family, encoder)
    length = ours.mask.shape[1]
    assert torch.equal(ours.values * ours.mask, tokens["input_ids"][:, :length])
    network = theirs(source, family)
    network = network.text_model if family in foreign.DUAL else network
    if family == "siglip":
        tokens = {"input_ids": tokens["input_ids"]}
    else:
        tokens.pop("token_type_ids", None)
    with torch.no_grad():
        expected = network(**tokens).last_hidden_state[:, :length]
    features = encoder(ours)
    torch.testing.assert_close(features.values[ours.mask], expected[ours.mask], atol=1e-5, rtol=1e-4)
    assert torch.equal(features.mask, ours.mask)


@pytest.mark.parametrize("family", foreign.DUAL)
def test_the_embedding_of_a_caption_is_the_published_one(source, family):
    encoder = read(source, "text", family, output="embedding")
    ours, tokens = captions(source, family, encoder)
    if family == "siglip":
        tokens = {"input_ids": tokens["input_ids"]}
    tokens = {name: tokens[name] for name in tokens if name != "token_type_ids"}
    with torch.no_grad():
        expected = F.normalize(theirs(source, family).get_text_features(**tokens).pooler_output, dim=-1)
    torch.testing.assert_close(encoder(ours).values[:, 0], expected, atol=1e-5, rtol=1e-4)


def test_the_class_token_is_the_embedding_of_bert(source):
    whole, tokens = read(source, "text", "bert", output="embedding"), read(source, "text", "bert")
    ours, _ = captions(source, "bert", whole)
    assert torch.equal(whole(ours).values[:, 0], tokens(ours).values[:, 0])


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("family", ["bert", "bart", "clip"])
def test_hidden_layers(source, family, layer):
    encoder = read(source, "text", family, layer=layer)
    ours, tokens = captions(source, family, encoder)
    network = theirs(source, family)
    network = network.text_model if family == "clip" else network
    with torch.no_grad():
        output = network(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], output_hidden_states=True
        )
    states = output["decoder_hidden_states" if family == "bart" else "hidden_states"]
    torch.testing.assert_close(encoder(ours).values[ours.mask], states[layer][ours.mask], atol=1e-5, rtol=1e-4)


def test_the_encoder_half_of_bart(source):
    encoder = read(source, "text", "bart", part="encoder")
    ours, tokens = captions(source, "bart", encoder)
    with torch.no_grad():
        output = theirs(source, "bart")(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    expected = output.encoder_last_hidden_state[ours.mask]
    torch.testing.assert_close(encoder(ours).values[ours.mask], expected, atol=1e-5, rtol=1e-4)
    assert not any("decoder" in name for name, _ in encoder.named_parameters())


def test_words_only_leaves_out_what_is_no_word(source):
    encoder, whole = read(source, "text", "bert", words_only=True), read(source, "text", "bert")
    ours, _ = captions(source, "bert", encoder)
    features = encoder(ours)
    expected = ours.mask & (ours.values != 2) & (ours.values != 3)
    assert torch.equal(features.mask, expected)
    assert features.mask[2].sum() == 3, "an unknown word is a word"
    assert torch.equal(features.values[expected], whole(ours).values[expected])


def test_long_captions_are_cut_but_keep_their_closing_token(source):
    encoder = read(source, "text", "clip", max_tokens=6)
    processor = Processor(text=encoder.spec, tokenizer=PretrainedTokenizer.from_json(encoder.tokenizer_json))
    ids = processor.text(CAPTIONS[1]).tolist()
    assert len(ids) == 6 and ids[0] == 2 and ids[-1] == 3


# --- video


def frames(seed=0, size=32):
    random = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (2, 4, 3, size, size), generator=random, dtype=torch.uint8)
    return Padded(values, torch.ones(2, 4, dtype=torch.bool))


def pixels(clips, encoder):
    """Frames normalised by hand."""
    mean, std = (torch.tensor(part)[:, None, None] for part in (encoder.spec.mean, encoder.spec.std))
    return (clips.values / 255 - mean) / std


@pytest.mark.parametrize("family", [name for name in (*foreign.DUAL, *foreign.IMAGE) if name != "xclip"])
def test_patches_of_image_models(source, family):
    encoder, clips = read(source, "video", family, frames=4), frames()
    network = theirs(source, family)
    network = network.vision_model if family in foreign.DUAL else network
    with torch.no_grad():
        expected = network(pixel_values=pixels(clips, encoder).flatten(0, 1)).last_hidden_state
    features = encoder(clips)
    assert features.grid == (4, 4, 4)
    prefix = {"deit": 2, "siglip": 0, "siglip_vision_model": 0, "dinov2_with_registers": 5}.get(family, 1)
    expected = expected[:, prefix:].reshape(2, 64, -1)
    torch.testing.assert_close(features.values, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", [name for name in (*foreign.DUAL, *foreign.IMAGE) if name != "xclip"])
def test_the_embedding_of_a_frame_is_the_published_one(source, family):
    encoder, clips = read(source, "video", family, frames=4, output="embedding"), frames()
    network, given = theirs(source, family), pixels(clips, encoder).flatten(0, 1)
    with torch.no_grad():
        if family in foreign.DUAL:
            expected = F.normalize(network.get_image_features(pixel_values=given).pooler_output, dim=-1)
        elif family in ("vit", "deit", "dinov2", "dinov2_with_registers"):
            expected = network(pixel_values=given).last_hidden_state[:, 0]
        else:
            expected = F.normalize(network(pixel_values=given).pooler_output, dim=-1)
    features = encoder(clips)
    assert features.grid == (4, 1, 1)
    torch.testing.assert_close(features.values, expected.view(2, 4, -1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", foreign.VIDEO)
def test_patches_of_video_models(source, family):
    encoder, clips = read(source, "video", family), frames()
    with torch.no_grad():
        expected = theirs(source, family)(pixel_values=pixels(clips, encoder)).last_hidden_state
    expected = expected if family == "videomae" else expected[:, 1:]
    steps = 4 if family == "timesformer" else 2
    if family == "timesformer":
        expected = torch.stack([expected[:, place * 4 + step] for step in range(4) for place in range(16)], 1)
    features = encoder(clips)
    assert features.grid == (steps, 4, 4)
    torch.testing.assert_close(features.values, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", [*foreign.VIDEO, "xclip", "clip"])
def test_the_grid_says_where_and_when_a_patch_is(source, family):
    """Blocks that do nothing leave each patch where it entered: only the patch that has changed may differ."""
    encoder = read(source, "video", family, layer=0)
    before = frames()
    after = Padded(before.values.clone(), before.mask)
    after.values[:, 3, :, 8:16, 24:32] = 255 - after.values[:, 3, :, 8:16, 24:32]
    changed = (encoder(before).values - encoder(after).values).abs().sum(dim=-1) > 1e-4
    steps, height, width = encoder(before).grid
    places = changed[0].view(steps, height, width).nonzero().tolist()
    assert places == [[3 * steps // 4, 1, 3]]


def test_the_embedding_of_a_clip_by_x_clip(source):
    encoder, clips = read(source, "video", "xclip", output="embedding"), frames()
    with torch.no_grad():
        output = theirs(source, "xclip").get_video_features(pixel_values=pixels(clips, encoder)).pooler_output
    torch.testing.assert_close(encoder(clips).values[:, 0], F.normalize(output, dim=-1), atol=1e-5, rtol=1e-4)


PROCESSORS = {
    "clip": "CLIPImageProcessorPil",
    "siglip": "SiglipImageProcessorPil",
    "vit": "ViTImageProcessorPil",
    "dinov2": "BitImageProcessorPil",
    "vivit": "VivitImageProcessor",
    "videomae": "VideoMAEImageProcessorPil",
}


@pytest.mark.parametrize("family", PROCESSORS)
@pytest.mark.parametrize("shape", [(90, 120), (64, 40), (32, 32)])
def test_pixels_are_those_of_their_image_processor(source, family, shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    picture = np.stack([x * 255 / shape[1], y * 255 / shape[0], 127 + 120 * np.sin(x / 6) * np.cos(y / 9)], -1)
    picture = picture.astype(np.uint8)
    encoder = read(source, "video", family)
    ours = Processor(clip=encoder.spec).fit(picture[None])
    given = pixels(Padded(ours[None], None), encoder)[0, 0]
    processor = getattr(transformers, PROCESSORS[family]).from_pretrained(source(family))
    output = processor([Image.fromarray(picture)] if family != "vivit" else [[picture]], return_tensors="pt")
    expected = torch.as_tensor(np.asarray(output["pixel_values"])).flatten(0, -4)[0]
    difference = (given - expected).abs() * torch.tensor(encoder.spec.std)[:, None, None] * 255
    # they round the middle to whole pixels after resizing, we before: half a pixel, of a ramp of 8 levels per pixel
    assert difference.mean() < 2.5 and difference.max() < 16


# --- speech


def sound(seconds, seed=0):
    random = np.random.default_rng(seed)
    return (random.standard_normal(round(16_000 * seconds)) * 0.1 + 0.02).astype(np.float32)


@pytest.mark.parametrize("family", [name for name in foreign.SPEECH if name != "whisper"])
def test_waveforms(source, family):
    encoder, waveforms = read(source, "speech", family), [sound(0.4), sound(0.25, 1), sound(0.33, 2)]
    processor = Processor(speech=encoder.spec)
    batch = processor.collate([""] * 3, [{"speech": processor.speech(waveform)} for waveform in waveforms])
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(source(family))
    features, network = encoder(batch.inputs["speech"]), theirs(source, family)
    layered = "base" not in family
    if layered:  # as transformers batches it
        given = extractor(
            waveforms, sampling_rate=16_000, padding=True, return_tensors="pt", return_attention_mask=True
        )
        torch.testing.assert_close(given["input_values"], batch.inputs["speech"].values, atol=1e-5, rtol=1e-4)
        with torch.no_grad():
            expected = network(**given).last_hidden_state
        torch.testing.assert_close(features.values[features.mask], expected[features.mask], atol=1e-5, rtol=1e-4)
    for row, waveform in enumerate(waveforms):
        alone = extractor(waveform, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            expected = network(alone["input_values"]).last_hidden_state[0]
        torch.testing.assert_close(features.values[row][features.mask[row]], expected, atol=1e-5, rtol=1e-4)


def test_a_recording_shorter_than_the_first_feature_ends_in_silence(source):
    encoder, waveform = read(source, "speech", "wav2vec2"), torch.randn(1, 30)
    features = encoder(Padded(waveform, torch.ones(1, 30, dtype=torch.bool)))
    longer = torch.cat([waveform, torch.zeros(1, encoder.shortest - 30)], 1)
    with torch.no_grad():
        expected = theirs(source, "wav2vec2")(longer).last_hidden_state
    assert features.mask.tolist() == [[True]]
    torch.testing.assert_close(features.values, expected)


@pytest.mark.parametrize("seconds", [1.0, 0.437])
def test_whisper(source, seconds):
    encoder, waveforms = read(source, "speech", "whisper"), [sound(seconds), sound(0.7, 1)]
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(source("whisper"))
    given = extractor(waveforms, sampling_rate=16_000, return_tensors="pt")
    processor = Processor(speech=encoder.spec)
    batch = processor.collate([""] * 2, [{"speech": processor.speech(waveform)} for waveform in waveforms])
    inputs = batch.inputs["speech"]
    torch.testing.assert_close(
        encoder._with_silence(*inputs), given["input_features"].transpose(1, 2), atol=1e-6, rtol=1e-5
    )
    with torch.no_grad():
        expected = theirs(source, "whisper").encoder(given["input_features"]).last_hidden_state
    features = encoder(inputs)
    length = features.mask.shape[1]
    assert features.mask.sum(dim=1).tolist() == [
        -(-len(item) // 2) for item in (front_end(w, encoder.spec) for w in waveforms)
    ]
    torch.testing.assert_close(
        features.values[features.mask], expected[:, :length][features.mask], atol=1e-4, rtol=1e-3
    )


def test_half_a_minute_is_heard_whole(source):
    encoder = read(source, "speech", "whisper", max_seconds=30.0)
    item = Processor(speech=encoder.spec).speech(sound(31))
    assert item.shape == (3000, 80)
    expected = transformers.WhisperFeatureExtractor()(sound(31)[: 30 * 16_000], sampling_rate=16_000)["input_features"]
    np.testing.assert_allclose(item.numpy().T, expected[0], atol=1e-6)
