"""The smallest models of every family of transformers, saved by its own classes: what people have on their disks."""

import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ["a", "an", "the", "red", "blue", "green", "dog", "cat", "bird", "ball", "car", "runs", "jumps", "falls"]
WORDS += ["over", "under", "in", "on", "to", "of", "photo", "sea", "field"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCAB = len(SPECIAL) + len(WORDS)
DEEP = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
IDS = {"vocab_size": VOCAB, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
PICTURE = {"image_size": 32, "patch_size": 8, **DEEP}
CLIP_MEAN = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28], "do_rescale": True}
CROPPING = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}
SQUASHING = {"size": {"height": 32, "width": 32}}


def tokenizer(longest: int = 16):
    """Words, lower-cased, between [CLS] and [SEP]."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[CLS]",
        cls_token="[CLS]",
        eos_token="[SEP]",
        sep_token="[SEP]",
        model_max_length=longest,
    )


def _text(**changes) -> dict:
    return {**IDS, **DEEP, "max_position_embeddings": 20, **changes}


TEXT = {
    "albert": ("AlbertModel", "AlbertConfig", _text(embedding_size=8)),
    "bert": ("BertModel", "BertConfig", _text()),
    "distilbert": (
        "DistilBertModel",
        "DistilBertConfig",
        {**IDS, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 20},
    ),
    "electra": ("ElectraModel", "ElectraConfig", _text(embedding_size=8)),
    "mpnet": ("MPNetModel", "MPNetConfig", _text()),
    "roberta": ("RobertaModel", "RobertaConfig", _text()),
    "xlm-roberta": ("XLMRobertaModel", "XLMRobertaConfig", _text()),
    "bart": (
        "BartModel",
        "BartConfig",
        {**IDS, "d_model": 16, "max_position_embeddings": 20, "decoder_start_token_id": 3, "forced_eos_token_id": 3}
        | {f"{half}_{key}": 2 for half in ("encoder", "decoder") for key in ("layers", "attention_heads")}
        | {f"{half}_ffn_dim": 24 for half in ("encoder", "decoder")},
    ),
    "clip_text_model": ("CLIPTextModel", "CLIPTextConfig", _text()),
}
_CHINESE = {"text_config": _text(), "vision_config": PICTURE, "projection_dim": 12}
DUAL = {
    "clip": ("CLIPModel", "CLIPConfig", _CHINESE),
    "siglip": (
        "SiglipModel",
        "SiglipConfig",
        {"text_config": _text(projection_size=16), "vision_config": PICTURE},
    ),
    "chinese_clip": ("ChineseCLIPModel", "ChineseCLIPConfig", _CHINESE),
    "altclip": (
        "AltCLIPModel",
        "AltCLIPConfig",
        {"text_config": _text(project_dim=16), "vision_config": PICTURE, "projection_dim": 12},
    ),
    "xclip": (
        "XCLIPModel",
        "XCLIPConfig",
        {
            "text_config": _text(),
            "vision_config": {**PICTURE, "num_frames": 4, "mit_hidden_size": 12, "mit_num_attention_heads": 2}
            | {"mit_intermediate_size": 24, "mit_num_hidden_layers": 1},
            "projection_dim": 12,
        },
    ),
}
IMAGE = {
    "vit": ("ViTModel", "ViTConfig", PICTURE),
    "deit": ("DeiTModel", "DeiTConfig", PICTURE),
    "dinov2": ("Dinov2Model", "Dinov2Config", PICTURE),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", PICTURE),
    "clip_vision_model": ("CLIPVisionModel", "CLIPVisionConfig", PICTURE),
    "chinese_clip_vision_model": ("ChineseCLIPVisionModel", "ChineseCLIPVisionConfig", PICTURE),
    "siglip_vision_model": ("SiglipVisionModel", "SiglipVisionConfig", PICTURE),
}
VIDEO = {
    "videomae": ("VideoMAEModel", "VideoMAEConfig", {**PICTURE, "num_frames": 4}),
    "timesformer": ("TimesformerModel", "TimesformerConfig", {**PICTURE, "num_frames": 4}),
    "vivit": ("VivitModel", "VivitConfig", {**PICTURE, "num_frames": 4, "tubelet_size": [2, 8, 8]}),
}
_CONVOLUTIONS = {"conv_dim": [8, 8, 8], "conv_kernel": [10, 4, 4], "conv_stride": [5, 4, 4]}
_SOUND = {**DEEP, **_CONVOLUTIONS, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "vocab_size": 8}
_LARGE = {**_SOUND, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SPEECH = {
    "wav2vec2": ("Wav2Vec2Model", "Wav2Vec2Config", _LARGE),
    "wav2vec2 base": ("Wav2Vec2Model", "Wav2Vec2Config", _SOUND),
    "hubert": ("HubertModel", "HubertConfig", _LARGE),
    "hubert base": ("HubertModel", "HubertConfig", _SOUND),
    "wavlm": ("WavLMModel", "WavLMConfig", _LARGE),
    "wavlm base": ("WavLMModel", "WavLMConfig", _SOUND),
    "whisper": (
        "WhisperModel",
        "WhisperConfig",
        {**IDS, "d_model": 16, "num_mel_bins": 80, "max_source_positions": 1500, "decoder_start_token_id": 2}
        | {f"{half}_{key}": 2 for half in ("encoder", "decoder") for key in ("layers", "attention_heads")}
        | {f"{half}_ffn_dim": 24 for half in ("encoder", "decoder")},
    ),
}
EVERY = {**TEXT, **DUAL, **IMAGE, **VIDEO, **SPEECH}
_PROCESSORS = {
    "siglip": ("SiglipImageProcessor", SQUASHING),
    "siglip_vision_model": ("SiglipImageProcessor", SQUASHING),
    "vit": ("ViTImageProcessor", SQUASHING),
    "dinov2": ("BitImageProcessor", {**CROPPING, "size": {"shortest_edge": 36}}),
    "vivit": ("VivitImageProcessor", {**CROPPING, "rescale_factor": 1 / 127.5, "offset": True}),
}


def network(family: str, seed: int = 0):
    """A network of transformers with random weights large enough that nothing vanishes."""
    model_class, config_class, values = EVERY[family]
    torch.manual_seed(seed)
    net = getattr(transformers, model_class)(getattr(transformers, config_class)(**values))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1:
                size = 0.2 if "embed" in name else 1.5 / parameter[0].numel() ** 0.5
                parameter.copy_(torch.randn_like(parameter) * size)
    return net.eval()


def image_settings(family: str) -> dict:
    kind, size = _PROCESSORS.get(family, ("CLIPImageProcessor", CROPPING))
    return {"image_processor_type": kind, "resample": 3, "do_resize": True, "do_normalize": True, **CLIP_MEAN, **size}


def save(folder: Path, family: str, seed: int = 0) -> Path:
    """Save a network with all that belongs to it, as it would be on the hub."""
    network(family, seed).save_pretrained(folder)
    if family in TEXT or family in DUAL:
        tokenizer().save_pretrained(folder)
    if family in IMAGE or family in VIDEO or family in DUAL:
        (folder / "preprocessor_config.json").write_text(json.dumps(image_settings(family)))
    if family in SPEECH:
        whisper = family == "whisper"
        kind = transformers.WhisperFeatureExtractor if whisper else transformers.Wav2Vec2FeatureExtractor
        kind().save_pretrained(folder)
    return folder


def save_whisper(folder: Path, multilingual: bool = False) -> Path:
    """Save a whole Whisper that writes the words above, whatever it hears."""
    config = transformers.WhisperConfig(**EVERY["whisper"][2], max_target_positions=24)
    torch.manual_seed(0)
    net = transformers.WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.5)
    settings = net.generation_config
    settings._from_model_config = False
    settings.max_new_tokens, settings.decoder_start_token_id, settings.is_multilingual = 6, 2, multilingual
    last = VOCAB - 1  # what comes behind it would be a time stamp
    settings.suppress_tokens, settings.begin_suppress_tokens = [0, 1, 2, last], [3]
    settings.no_timestamps_token_id = last
    if multilingual:
        settings.lang_to_id, settings.task_to_id = {"<|en|>": 4, "<|de|>": 5}, {"transcribe": 6, "translate": 7}
    net.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return folder
