"""Tokens of a model in a folder of this machine, by PyTorch: ColBERT as PyLate or Stanford's program write it, XTR, others.

    config.json, model.safetensors, tokenizer.json   a transformer, at the top or where modules.json says
    1_Dense/ (or 2_Dense/)                            a projection of each token; else `linear.weight` in model.safetensors
    config_sentence_transformers.json                 PyLate: markers, lengths, words that do not count
    artifact.metadata                                 Stanford: the same under other names

Weights are read as safetensors, and no code of a model is run. Only the encoder of an encoder-decoder is used.

Belongs here: reading such a folder, and running it. Not here: windows (`encoder`).
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from pipeline.config import XtrSettings
from pipeline.embed import model_folder
from pipeline.embed.onnx import read_tokenizer
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.index.xtr.encoder import ModelEncoder, Numbers, Recipe, Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ALGORITHM = "1"
"""Rises whenever any token's vector changes; part of the encoder's digest."""
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors")
_INSTALL = "Install it: `pip install 'codeintel-pipeline[sentence-transformers]'`."
_PYLATE, _STANFORD = "config_sentence_transformers.json", "artifact.metadata"
_WINDOW, _QUERY_WINDOW = 256, 32
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_WEIGHTS = "model.safetensors"


def find_folder(settings: XtrSettings) -> Path:
    """The folder that `xtr_model` means. Raises `ConfigError` for one that is not there or no absolute path."""
    folder = Path(settings.xtr_model).expanduser()
    # Never a folder below the working directory: that may be a repository that nobody vouches for.
    if not folder.is_absolute() or not folder.is_dir():
        what = "no folder" if folder.is_absolute() else "no absolute path"
        raise ConfigError(f"`xtr_model` is {settings.xtr_model}, which is {what}.", hint="Set it to a model's whole path.")
    return folder.resolve()


def digest_of(settings: XtrSettings) -> str:
    """The encoder's digest. Loads no library. Raises `ConfigError` for a folder that is not there."""
    weights = model_folder.digest_folder(find_folder(settings))
    return model_folder.digest_recipe("xtr-folder", ALGORITHM, weights, settings.xtr_max_tokens)


def load(settings: XtrSettings) -> ModelEncoder:
    """The encoder. Raises `ConfigError` without PyTorch, `IndexFormatError` for a folder that is not what it should be."""
    folder = find_folder(settings)
    transformer, projection = parts_of(folder)
    digest = digest_of(settings)
    missing = next((name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None), None)
    if missing is not None:
        raise ConfigError(f"The library {missing} is not installed.", hint=_INSTALL)
    path = next((path for path in (transformer / "tokenizer.json", folder / "tokenizer.json") if path.is_file()), None)
    if path is None:
        raise IndexFormatError(f"The folder {folder} has no tokenizer.json.", hint="Save the tokenizer in its fast form.")
    tokenizer = read_tokenizer(path, _WINDOW)
    recipe = recipe_of(folder, transformer, tokenizer, settings)
    return ModelEncoder(recipe, digest, tokenizer, _Transformer(transformer, projection, settings))


def parts_of(folder: Path) -> tuple[Path, Path | None]:
    """Folder of the transformer, and weights of the projection: those of a Dense module, or the transformer's file where it
    has a `linear.weight`. Raises `IndexFormatError` for modules that are neither."""
    transformer, projection = folder, None
    for path, kind in _modules(folder):
        if kind == "Transformer":
            transformer = folder / path
        elif kind == "Dense":
            if projection is not None:
                raise IndexFormatError(f"{folder} has two projections.", hint="Use a model with one Dense module.")
            projection = folder / path / _WEIGHTS
            _require_linear(folder / path)
        elif kind not in ("Normalize", "Pooling"):
            raise IndexFormatError(
                f"{folder} has a module {kind}, which token encoders do not have.", hint="Use another model."
            )
    if projection is not None and not projection.is_file():
        raise IndexFormatError(f"{projection} is missing.", hint="Save the model's weights as safetensors.")
    return transformer, projection


def _require_linear(folder: Path) -> None:
    activation = model_folder.read_config(folder, "config.json").get("activation_function", "Identity")
    if str(activation).rpartition(".")[2] != "Identity":
        raise IndexFormatError(f"The projection in {folder} is not linear: it has {activation}.", hint="Use another model.")


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Path below the folder and class name of each module. None of them may lie elsewhere."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        found = msgspec.json.decode(path.read_bytes(), type=list[_Module])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IndexFormatError(f"{path} cannot be read: {error}.", hint="Use another copy of the model.") from error
    if any(Path(one.path).is_absolute() or ".." in Path(one.path).parts for one in found):
        raise IndexFormatError(f"{path} names a folder outside of the model.", hint="Use another copy of the model.")
    return [(one.path, one.type.rpartition(".")[2]) for one in found]


class _Module(msgspec.Struct):
    path: str
    type: str


def recipe_of(folder: Path, transformer: Path, tokenizer: Tokenizer, settings: XtrSettings) -> Recipe:
    """What the folder says of markers, lengths and words that do not count; nothing where it says nothing."""
    pylate, stanford = model_folder.read_config(folder, _PYLATE), model_folder.read_config(folder, _STANFORD)
    most = model_folder.read_config(transformer, "config.json").get("max_position_embeddings")
    window = _number(pylate.get("document_length") or stanford.get("doc_maxlen"), _WINDOW)
    window = min(window, settings.xtr_max_tokens, most if isinstance(most, int) else window)
    markers = (
        pylate.get("document_prefix") or stanford.get("doc_token_id") or stanford.get("doc_token"),
        pylate.get("query_prefix") or stanford.get("query_token_id") or stanford.get("query_token"),
    )
    document, query = (_marker(tokenizer, marker, folder) for marker in markers)
    skipped = pylate.get("skiplist_words")
    if not isinstance(skipped, list):
        skipped = list(_PUNCTUATION) if stanford.get("mask_punctuation") else []
    # Stanford's program always fills queries up; it says nothing of it.
    expands = bool(pylate.get("do_query_expansion", bool(stanford)))
    return Recipe(
        name=f"xtr/{folder.name}",
        window=window,
        windows=-(-settings.xtr_max_tokens // window),
        query_window=_number(pylate.get("query_length") or stanford.get("query_maxlen"), _QUERY_WINDOW),
        document_marker=document,
        query_marker=query,
        keeps_special=document is not None,
        skipped=_ids_of(tokenizer, skipped),
        mask=tokenizer.token_to_id("[MASK]") if expands else None,
        attends_masks=bool(pylate.get("attend_to_expansion_tokens") or stanford.get("attend_to_mask_tokens")),
    )


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) and value > 2 else default


def _marker(tokenizer: Tokenizer, marker: object, folder: Path) -> int | None:
    if not isinstance(marker, str) or not marker:
        return None
    for spelling in (marker, marker.strip()):
        if (found := tokenizer.token_to_id(spelling)) is not None:
            return int(found)
    raise IndexFormatError(
        f"The marker {marker!r} of {folder} is no token of its tokenizer.", hint="Use another copy of the model."
    )


def _ids_of(tokenizer: Tokenizer, words: Iterable[object]) -> frozenset[int]:
    """The tokens that are words of these, also at the start of a word as SentencePiece writes it."""
    spelt = (f"{start}{word}" for word in words if isinstance(word, str) for start in ("", "▁"))
    return frozenset(found for word in spelt if (found := tokenizer.token_to_id(word)) is not None)


class _Transformer:
    """A transformer and its projection. Windows of about one length are run together; threads take turns."""

    def __init__(self, folder: Path, projection: Path | None, settings: XtrSettings) -> None:
        import torch

        self._batch = settings.xtr_batch_size
        self._lock = threading.Lock()
        self._device = _device(torch, settings.xtr_device)
        self._model = _read_transformer(folder).to(self._device).eval()
        hidden = int(self._model.config.hidden_size)
        found = _read_projection(projection or folder / _WEIGHTS, hidden, required=projection is not None)
        self._weight, self._bias = (None if array is None else torch.from_numpy(array).to(self._device) for array in found)
        self._dimension = hidden if self._weight is None else int(self._weight.shape[0])

    @property
    def dimension(self) -> int:
        """Of the projection, where there is one; else of the transformer."""
        return self._dimension

    def run(self, windows: Sequence[Numbers], masks: Sequence[Numbers]) -> list[Vectors]:
        """Vectors of each window's tokens; in other batches the same but for rounding."""
        found: list[Vectors] = [np.empty((0, self._dimension), np.float32)] * len(windows)
        order = np.argsort([len(window) for window in windows], kind="stable")
        with self._lock:
            for start in range(0, len(order), self._batch):
                rows = order[start : start + self._batch].tolist()
                for row, vectors in zip(rows, self._run([windows[r] for r in rows], [masks[r] for r in rows]), strict=True):
                    found[row] = vectors
        return found

    def _run(self, windows: list[Numbers], masks: list[Numbers]) -> list[Vectors]:
        import torch

        longest = max(map(len, windows))
        ids, attended = (np.zeros((len(windows), longest), np.int64) for _ in range(2))
        for row, (window, mask) in enumerate(zip(windows, masks, strict=True)):
            ids[row, : len(window)], attended[row, : len(mask)] = window, mask
        with torch.inference_mode():
            given = (torch.from_numpy(array).to(self._device) for array in (ids, attended))
            states = self._model(**dict(zip(("input_ids", "attention_mask"), given, strict=True))).last_hidden_state
            if self._weight is not None:
                states = torch.nn.functional.linear(states, self._weight, self._bias)
            made = states.float().cpu().numpy()
        return [np.array(made[row, : len(window)], np.float32) for row, window in enumerate(windows)]


def _read_transformer(folder: Path) -> Any:
    import torch
    from transformers import AutoConfig, AutoModel, T5EncoderModel
    from transformers.utils import logging

    # It would write over a command's own output, and tell of the projection, which is read apart.
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    given = {"local_files_only": True, "use_safetensors": True, "dtype": torch.float32, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        kind = T5EncoderModel if config.model_type == "t5" else AutoModel
        return kind.from_pretrained(str(folder), **given)
    except Exception as error:  # Whatever a folder can be wrong in, three libraries say it in their own classes.
        raise IndexFormatError(
            f"The model in {folder} cannot be loaded: {type(error).__name__}: {model_folder.first_line(error)}.",
            hint="`xtr_model` must be a folder of a transformer with weights in safetensors, which needs no code of its own.",
        ) from error


def _read_projection(path: Path, hidden: int, *, required: bool) -> tuple[Any, Any]:
    """`linear.weight` [d, hidden] and `linear.bias` [d] of a file, each None where it has none."""
    from safetensors import safe_open

    if not path.is_file():
        return None, None
    try:
        with safe_open(str(path), "numpy") as file:
            names = set(file.keys())
            weight, bias = (
                np.asarray(file.get_tensor(name), np.float32) if name in names else None
                for name in ("linear.weight", "linear.bias")
            )
    except Exception as error:  # The library raises classes of its own.
        raise IndexFormatError(f"{path} cannot be read: {error}.", hint="Use another copy of the model.") from error
    if (weight is None and required) or (weight is not None and (weight.ndim != 2 or weight.shape[1] != hidden)):
        shape = "no linear.weight" if weight is None else f"a linear.weight of {list(weight.shape)}"
        raise IndexFormatError(f"{path} has {shape}, which does not fit {hidden} dimensions.", hint="Use another model.")
    return weight, bias


def _device(torch: Any, wanted: str) -> str:
    there = bool(torch.cuda.is_available())
    if wanted == "cuda" and not there:
        raise ConfigError("`xtr_device` is cuda, and PyTorch sees no GPU.", hint="Use `auto` or `cpu`.")
    return "cuda" if there and wanted != "cpu" else "cpu"
