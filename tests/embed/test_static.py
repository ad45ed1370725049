"""The static embedder: pure rows, unit norms, the table that is shipped, and files that are not what they should be."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import docstrings
import msgspec
import numpy as np
import pytest
import train_static_data

from pipeline.config import EmbedSettings
from pipeline.embed import registry, static
from pipeline.embed.static import StaticEmbedder
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.files import canonical_json, digest_file

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

IN_BENCHMARKS = """
aiohttp fastapi flask httpx model2vec pydantic requests starlette click axios express redux zod @trpc/server @trpc/client vitest
gin cobra chi gson commons-lang jackson-databind guzzle monolog sinatra rack rails tokio serde axum phoenix plug ecto
alamofire vapor rxswift ktor exposed cats circe http4s curl libuv nvm pandoc aeson ziglang zls django networkx scikit-learn
"""
"""Names of what the benchmarks of this project, and those that it is compared by, search."""


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


def test_the_card_tells_of_the_table_that_is_shipped() -> None:
    card = static.read_card(static.WEIGHTS)
    assert card.digests.rows == digest_file(static.WEIGHTS / static.ROWS)
    assert card.digests.scales == digest_file(static.WEIGHTS / static.SCALES)
    assert "MIT" in card.licence and card.source["wordllama"] == version("wordllama")
    assert canonical_json(msgspec.to_builtins(card)) == (static.WEIGHTS / static.CARD).read_bytes()


def test_the_table_was_trained_on_the_packages_that_are_listed_and_on_none_of_a_benchmark() -> None:
    card = static.read_card(static.WEIGHTS)
    listed = [f"{package.name}=={package.version}" for package in train_static_data.packages()]
    trained = [package for packages in card.packages.values() for package in packages]
    assert sorted(trained) == sorted(listed)
    names = {package.rpartition("==")[0].lower() for package in trained}
    assert not names & {requirement.partition("==")[0].lower() for requirement in docstrings.PACKAGES}
    assert not names & set(IN_BENCHMARKS.split())


def test_a_wheel_takes_the_table_along() -> None:
    """What is built is `pipeline` without what git ignores."""
    files = [str(static.WEIGHTS / name) for name in (static.ROWS, static.SCALES, static.CARD)]
    root = static.WEIGHTS.parents[2]
    assert static.WEIGHTS.is_relative_to(root / "pipeline")
    assert (
        "pipeline"
        in tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    )
    ignored = subprocess.run(["git", "check-ignore", "--no-index", *files], cwd=root, capture_output=True, text=True)
    assert (ignored.returncode, ignored.stdout) == (1, "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like the one that is shipped: a table of 32,000 × 4."""
    write_weights(tmp_path, np.full((32_000, 4), 64, np.int8), np.full(32_000, 3, np.uint16))
    return tmp_path


def write_weights(folder: Path, rows: np.ndarray, scales: np.ndarray, **changes: object) -> None:
    np.save(folder / static.ROWS, rows)
    np.save(folder / static.SCALES, scales)
    digests = static.Table(
        rows=digest_file(folder / static.ROWS),
        scales=digest_file(folder / static.SCALES),
        tokenizer=digest_file(static.tokenizer_path()),
    )
    card = msgspec.structs.replace(static.read_card(static.WEIGHTS), digests=digests)
    (folder / static.CARD).write_bytes(canonical_json(msgspec.to_builtins(card) | changes))


def test_a_table_of_another_size_is_read_as_its_header_says(folder: Path) -> None:
    embedder = StaticEmbedder(folder)
    assert embedder.dimension == 4
    assert embedder.encode(["word"]).tolist() == [[0.5, 0.5, 0.5, 0.5]]


def test_a_row_counts_by_its_scale(folder: Path, embedder: StaticEmbedder) -> None:
    (first,), (second,) = (embedder._tokenizer.encode(word, add_special_tokens=False).ids for word in ("word", "user"))
    rows, scales = np.zeros((32_000, 2), np.int8), np.ones(32_000, np.uint16)
    rows[first], rows[second], scales[second] = (1, 0), (0, 1), 3
    write_weights(folder, rows, scales)
    assert StaticEmbedder(folder).encode(["word user"]).tolist() == [pytest.approx([10**-0.5, 3 * 10**-0.5])]


def test_other_weights_have_another_digest(folder: Path, embedder: StaticEmbedder) -> None:
    first = StaticEmbedder(folder).digest
    write_weights(folder, np.full((32_000, 4), 64, np.int8), np.full(32_000, 5, np.uint16))
    assert len({first, StaticEmbedder(folder).digest, embedder.digest}) == 3


@pytest.mark.parametrize("name", [static.ROWS, static.SCALES])
@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1])
def test_truncated_weights_are_refused(folder: Path, name: str, keep: int) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(IndexFormatError, match=name):
        StaticEmbedder(folder)


@pytest.mark.parametrize("name", [static.ROWS, static.SCALES])
def test_a_table_that_was_damaged_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IndexFormatError, match=rf"{name} is damaged"):
        _ = StaticEmbedder(folder).digest


@pytest.mark.parametrize(
    ("rows", "scales"),
    [
        (np.zeros((10, 4), np.float32), np.ones(10, np.uint16)),
        (np.zeros(10, np.int8), np.ones(10, np.uint16)),
        (np.zeros((10, 0), np.int8), np.ones(10, np.uint16)),
        (np.zeros((10, 4), np.int8), np.ones(9, np.uint16)),
        (np.zeros((10, 4), np.int8), np.ones((10, 1), np.uint16)),
        (np.zeros((10, 4), np.int8), np.ones(10, np.int64)),
        (np.full((10, 4), None), np.ones(10, np.uint16)),
    ],
)
def test_weights_that_are_not_such_a_table_are_refused(folder: Path, rows: np.ndarray, scales: np.ndarray) -> None:
    write_weights(folder, rows, scales)
    with pytest.raises(IndexFormatError):
        StaticEmbedder(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]"])
def test_what_is_not_a_card_is_refused(folder: Path, content: bytes) -> None:
    (folder / static.CARD).write_bytes(content)
    with pytest.raises(IndexFormatError, match="not the card"):
        static.digest_of(folder)


def test_a_card_of_another_version_is_refused(folder: Path) -> None:
    write_weights(folder, np.ones((32_000, 4), np.int8), np.ones(32_000, np.uint16), version=static.FORMAT + 1)
    with pytest.raises(IndexFormatError, match=f"version {static.FORMAT + 1}, not {static.FORMAT}"):
        static.digest_of(folder)


@pytest.mark.parametrize("name", [static.CARD, static.ROWS, static.SCALES])
def test_missing_files_are_a_configuration_error(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=rf"{name} cannot be read"):
        static.digest_of(folder)
    if name != static.CARD:
        with pytest.raises(ConfigError, match=rf"{name} cannot be read"):
            StaticEmbedder(folder)


@pytest.fixture
def tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tokenizer that is used in place of WordLlama's."""
    path = folder / "tokenizer.json"
    path.write_bytes(static.tokenizer_path().read_bytes())
    monkeypatch.setattr(static, "tokenizer_path", lambda: path)
    return path


def test_another_tokenizer_than_the_table_was_trained_with_is_refused(folder: Path, tokenizer: Path) -> None:
    static.digest_of(folder)
    tokenizer.write_bytes(tokenizer.read_bytes() + b"\n")
    with pytest.raises(IndexFormatError, match="not the tokenizer"):
        static.digest_of(folder)


def test_a_tokenizer_that_does_not_fit_is_refused(folder: Path, tokenizer: Path) -> None:
    write_weights(folder, np.ones((100, 4), np.int8), np.ones(100, np.uint16))
    with pytest.raises(IndexFormatError, match="more tokens"):
        StaticEmbedder(folder).encode(["word"])
    tokenizer.write_text("{}")
    with pytest.raises(IndexFormatError, match="not a tokenizer"):
        StaticEmbedder(folder).encode(["word"])
    tokenizer.unlink()
    with pytest.raises(ConfigError, match="missing"):
        StaticEmbedder(folder).encode(["word"])


def test_without_the_package_of_the_tokenizer_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="`wordllama` is not installed") as raised:
        static.digest_of(static.WEIGHTS)
    assert raised.value.hint == "Install `wordllama`."
