"""The static embedder: pure rows, unit norms, and files that are not what they should be."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import EmbedSettings
from pipeline.embed import registry, static
from pipeline.embed.static import StaticEmbedder
from pipeline.errors import ConfigError, IndexFormatError

TEXTS = [
    "def getQuerySet(self): return self.query_set",
    "class HTTPServer: pass",
    "password hashing " * 3000,
    "",
    "+-*/ (){}[]",
    "日本語のテキスト と ünïcode",
    "\ud800 lone surrogate \x00 nul",
    "0xdeadbeef " * 50,
    "return None",
]


def test_a_row_does_not_depend_on_the_other_texts_bit_for_bit(embedder: StaticEmbedder) -> None:
    together = embedder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        assert StaticEmbedder().encode([text]).tobytes() == together[row].tobytes()
    backwards = StaticEmbedder().encode(TEXTS[::-1])[::-1]
    assert backwards.tobytes() == together.tobytes()


def test_a_row_does_not_depend_on_batching_or_threads(embedder: StaticEmbedder) -> None:
    texts = [f"def function_{number}(argument): return {number} # {text}" for number in range(40) for text in TEXTS]
    expected = embedder.encode(texts).tobytes()
    for batch_size in (1, 7, 1000):
        assert StaticEmbedder().encode(texts, batch_size=batch_size).tobytes() == expected
    fresh = StaticEmbedder()
    with ThreadPoolExecutor(4) as pool:
        assert all(rows.tobytes() == expected for rows in pool.map(fresh.encode, [texts] * 4))


def test_a_row_survives_the_vocabulary_being_forgotten(embedder: StaticEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = embedder.encode(TEXTS).tobytes()
    monkeypatch.setattr(static, "_MAX_VOCABULARY", 3)
    assert StaticEmbedder().encode(TEXTS, batch_size=2).tobytes() == expected


def test_rows_do_not_depend_on_the_number_of_blas_threads() -> None:
    script = (
        "import sys, hashlib; from pipeline.embed.static import StaticEmbedder;"
        "print(hashlib.sha256(StaticEmbedder().encode(['alpha beta gamma ' + str(i) * i for i in range(200)])).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], env={"OPENBLAS_NUM_THREADS": threads}, check=True, capture_output=True
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1


def test_every_text_has_a_finite_unit_vector(embedder: StaticEmbedder) -> None:
    vectors = embedder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), embedder.dimension)
    assert np.isfinite(vectors).all()
    assert np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max() < 1e-6
    assert embedder.encode([]).shape == (0, embedder.dimension)


def test_texts_without_words_get_directions_of_their_own(embedder: StaticEmbedder) -> None:
    first, second, again = embedder.encode(["()", "[]", "()"])
    assert (first == again).all()
    assert abs(float(first @ second)) < 0.4


def test_what_is_about_the_same_is_nearer(embedder: StaticEmbedder) -> None:
    query = embedder.encode_queries(["hash a password"])[0]
    near, far = embedder.encode(["def passwordHasher(pwd): return hashPassword(pwd)", "class TemplateLoader: directories"])
    assert float(query @ near) > float(query @ far) + 0.2


def test_identifier_style_does_not_change_the_vector(embedder: StaticEmbedder) -> None:
    camel, snake = embedder.encode(["getUserName", "get_user_name"])
    assert (camel == snake).all()


def test_loading_never_imports_the_wheel_or_arrow() -> None:
    script = (
        "import sys; from pipeline.config import EmbedSettings; from pipeline.embed import registry;"
        "registry.load(EmbedSettings()).encode_queries(['x']);"
        "assert not {'wordllama', 'pyarrow', 'faiss', 'duckdb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_digest_for_planning_is_that_of_the_loaded_embedder(embedder: StaticEmbedder) -> None:
    assert registry.embedder_digest(EmbedSettings()) == embedder.digest == registry.load(EmbedSettings()).digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like the wheel's: a table of 32,000 × 4 halves, and the real tokenizer."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / static._TOKENIZER).symlink_to(static.package_folder() / static._TOKENIZER)
    write_weights(tmp_path, rows=32_000, dimension=4)
    return tmp_path


def write_weights(folder: Path, rows: int, dimension: int, **changes: object) -> None:
    entry = {"dtype": "F16", "shape": [rows, dimension], "data_offsets": [0, rows * dimension * 2], **changes}
    header = json.dumps({"embedding.weight": entry}).encode()
    data = np.full((rows, dimension), 0.5, np.float16).tobytes()
    (folder / static._WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + data)


def test_a_table_of_another_size_is_read_as_its_header_says(folder: Path) -> None:
    embedder = StaticEmbedder(folder)
    assert embedder.dimension == 4
    assert embedder.encode(["word"]).tolist() == [[0.5, 0.5, 0.5, 0.5]]


def test_other_weights_have_another_digest(folder: Path, embedder: StaticEmbedder) -> None:
    assert StaticEmbedder(folder).digest != embedder.digest


@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    path = folder / static._WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(IndexFormatError, match=r"l2_supercat_256\.safetensors"):
        StaticEmbedder(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "F32"},
        {"shape": [32_000]},
        {"shape": [-1, 4]},
        {"data_offsets": [0, 8]},
        {"data_offsets": [-8, 255_992]},
        {"shape": "x"},
    ],
)
def test_weights_that_are_not_such_a_table_are_refused(folder: Path, changes: dict[str, object]) -> None:
    write_weights(folder, 32_000, 4, **changes)
    with pytest.raises(IndexFormatError):
        StaticEmbedder(folder)


def test_a_table_that_is_not_finite_is_refused(folder: Path) -> None:
    path = folder / static._WEIGHTS
    raw = path.read_bytes()
    path.write_bytes(raw[:-256_000] + np.full(128_000, np.nan, np.float16).tobytes())
    with pytest.raises(IndexFormatError, match="not finite"):
        StaticEmbedder(folder).encode(["word"])


def test_missing_files_are_a_configuration_error(folder: Path) -> None:
    (folder / static._TOKENIZER).unlink()
    with pytest.raises(ConfigError, match="missing"):
        StaticEmbedder(folder).encode(["word"])
    (folder / static._WEIGHTS).unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        StaticEmbedder(folder)
    with pytest.raises(ConfigError, match="cannot be read"):
        static.digest_of(folder)


def test_a_tokenizer_that_does_not_fit_is_refused(folder: Path) -> None:
    write_weights(folder, rows=100, dimension=4)
    with pytest.raises(IndexFormatError, match="more tokens"):
        StaticEmbedder(folder).encode(["word"])
    (folder / static._TOKENIZER).unlink()
    (folder / static._TOKENIZER).write_text("{}")
    with pytest.raises(IndexFormatError, match="not a tokenizer"):
        StaticEmbedder(folder).encode(["word"])
