"""Reading a transformers model from a hub name or a folder: its architecture, weights, tokenizer and preprocessing.

Only here is the hub ever asked. What is read becomes part of our own saved model, which is then complete without it.
Weights come from safetensors alone and code from the installed library alone, never from the source.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from mmretrieval.errors import ModelError

T = TypeVar("T")

QUIET = {
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "layerdrop": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "use_cache": False,
}
"""What transformers does at random in training beyond dropout, by NumPy's state or by skipping layers, is switched off:
a step is a pure function of its seed, and every parameter has a gradient. So is what serves pretraining or writing."""

_FORGOTTEN = ("_name_or_path", "name_or_path", "transformers_version", "dtype", "torch_dtype")
"""Keys of a configuration that say where and how it was saved, not what the network is."""


def read_architecture(source: str) -> dict[str, Any]:
    """Return the configuration of a pretrained model as plain values: all that is needed to build its network.

    Raises:
        ModelError: No such folder or model, no connection, or a configuration that transformers does not know.
    """
    from transformers import AutoConfig

    _check_folder(source)
    config = ask(source, lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))
    values = json.loads(config.to_json_string(use_diff=False))
    return _cleaned(values)


def build_network(architecture: dict[str, Any]) -> nn.Module:
    """Build the network of an architecture with new weights; nothing is read from anywhere.

    Raises:
        ModelError: The installed transformers does not know the architecture.
    """
    from transformers import AutoModel

    with quietly():
        try:
            return AutoModel.from_config(_config(architecture), dtype=torch.float32, trust_remote_code=False)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"the installed transformers cannot build '{architecture.get('model_type')}' ({_first_line(error)}): "
                "pip install -U transformers"
            ) from None


def load_network(source: str, architecture: dict[str, Any]) -> tuple[nn.Module, list[str]]:
    """Build the network of ``architecture`` with the weights of ``source``, in float32.

    Returns:
        The network, and the names of parameters that the source has no weights for.

    Raises:
        ModelError: The weights are missing, pickled, damaged or of another architecture.
    """
    from transformers import AutoModel

    options = {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False}
    network, report = ask(
        source,
        lambda: AutoModel.from_pretrained(source, config=_config(architecture), output_loading_info=True, **options),
    )
    return network, list(report["missing_keys"])


def read_tokenizer(source: str) -> Any:
    """Return the fast tokenizer of a pretrained model, as transformers has it.

    Raises:
        ModelError: There is none, or only one that exists as Python code.
    """
    from transformers import AutoTokenizer

    tokenizer = ask(source, lambda: AutoTokenizer.from_pretrained(source, trust_remote_code=False))
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"'{source}' has no tokenizer.json, only a tokenizer written in Python: convert it with "
            "AutoTokenizer.from_pretrained(…).save_pretrained(…) of transformers and give that folder"
        )
    return tokenizer


def read_image_preprocessing(source: str) -> dict[str, Any]:
    """Return the settings of a model's image processor as they were saved.

    Raises:
        ModelError: There are none.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    return ask(source, lambda: ImageProcessingMixin.get_image_processor_dict(source)[0], "preprocessor_config.json")


def read_sound_preprocessing(source: str) -> dict[str, Any]:
    """Return the settings of a model's audio front end as they were saved.

    Raises:
        ModelError: There are none.
    """
    from transformers.feature_extraction_utils import FeatureExtractionMixin

    return ask(source, lambda: FeatureExtractionMixin.get_feature_extractor_dict(source)[0], "preprocessor_config.json")


def _config(architecture: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    values = dict(architecture)
    return AutoConfig.for_model(values.pop("model_type"), **values)


def _cleaned(values: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration, and those within it, without traces of where it lay and without ``QUIET`` randomness."""
    cleaned = {key: _cleaned(value) if isinstance(value, dict) else value for key, value in values.items()}
    cleaned = {key: value for key, value in cleaned.items() if key not in _FORGOTTEN}
    return cleaned | {key: value for key, value in QUIET.items() if key in cleaned}


def _check_folder(source: str) -> None:
    """Tell a folder that is no model from a name: the hub would be asked for either."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"'{source}' is not a pretrained model: it has no config.json; give a folder that save_pretrained of "
                "transformers wrote"
            )
    elif folder.exists() or folder.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise ModelError(f"no folder '{source}': give one that save_pretrained of transformers wrote, or a hub name")


def ask(source: str, read: Callable[[], T], file: str | None = None) -> T:
    """Return what ``read`` returns; whatever transformers and the hub say instead becomes one line."""
    with quietly():
        try:
            return read()
        except ModelError:
            raise
        except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
            raise ModelError(_reason(source, error, file)) from None
        except Exception as error:  # safetensors and the hub's client raise classes of their own
            if type(error).__module__.split(".")[0] not in ("safetensors_rust", "safetensors", "huggingface_hub"):
                raise
            raise ModelError(_reason(source, error, file)) from None


def _reason(source: str, error: Exception, file: str | None) -> str:
    """Say in one line why ``source`` cannot be read and what to do."""
    text, kinds = str(error), {type(cause).__name__ for cause in _causes(error)}
    if "RepositoryNotFoundError" in kinds or "HFValidationError" in kinds:
        return f"the hub has no model '{source}': check the name, e.g. facebook/bart-base, or give a folder"
    if "GatedRepoError" in kinds:
        return f"'{source}' is only given to those who accept its terms: do so on its page, then 'hf auth login'"
    if "safetensors" in text and ("does not appear to have" in text or "no file named" in text):
        return (
            f"'{source}' has no model.safetensors: weights in other formats (pytorch_model.bin) can run foreign code "
            "when they are read, and are not; look for a conversion of it on its page"
        )
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectTimeout", "ConnectionError"}:
        return (
            f"'{source}' is neither a folder nor downloaded yet, and the hub cannot be reached: connect, or give the "
            "folder of a model"
        )
    if "trust_remote_code" in text:
        return f"'{source}' needs code of its own to run, which is never loaded: only transformers' own networks are"
    if Path(source).is_dir() and file is not None and not (Path(source) / file).is_file():
        return f"'{source}' has no {file}: copy it from where the weights come from"
    return f"'{source}' cannot be read by transformers: {_first_line(error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers from printing: what matters in its messages is checked, and raised as one line."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    if not sys.stderr.isatty():  # on a terminal a download shows how far it is
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
