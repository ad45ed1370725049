"""Train the static table of the embedded default, and write `pipeline/embed/weights`.

    .venv/bin/python benchmarks/train_static.py [--work DIR] [--out DIR]

The table starts as WordLlama's and learns to put a description near the code that it describes (`train_static_data` makes the
pairs), away from the other code of its batch, some of which is of the same package: the loss is InfoNCE in both directions. A
part of each text's tokens is dropped, else it over-fits at once. After each pass the packages that are held out are searched
by their descriptions, each among its own chunks; the pass with the best mean reciprocal rank is kept. Rows become 8-bit
integers with a scale each. With one thread the same pairs give the same files on the same machine.

Belongs here: bags of tokens, learning, judging, writing. Not here: where pairs come from (`train_static_data`), how a text is
encoded (`pipeline.embed.static`), benchmarks on other packages (`docstrings`, `code_search`).
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # Before NumPy is imported: sums in another order are other weights.

import msgspec
import numpy as np
import pyarrow.parquet as pq
import train_static_data
from numpy.typing import NDArray
from safetensors.numpy import load_file
from train_static_data import Package

from pipeline.embed import static, words
from pipeline.files import canonical_json, digest_file

SEED = 0
PASSES = 2
GROUP, GROUPS = 64, 16
"""Pairs of one package that come together, and how many such groups are a batch."""
RATE, WARM_UP = 0.003, 50
"""Adam's step, in lengths of an average row, and the batches until it is reached; then it falls to zero."""
DROPPED, DROPPED_OF_QUERY = 0.3, 0.1
SHARPNESS = 20.0
"""What cosines are multiplied by in the loss."""
_BETAS = (0.9, 0.99)
_JUDGED = 300
"""Descriptions at most of each package that is held out."""
_K = 10
_SOURCE = "weights/l2_supercat_256.safetensors"

_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Bags:
    """Texts as weighted tokens: those of text i lie at offsets[i] : offsets[i + 1]. Weights are the roots of occurrences."""

    offsets: NDArray[np.int64]
    tokens: NDArray[np.int64]
    weights: _Floats

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def matrix(self, texts: NDArray[np.int64]) -> tuple[NDArray[np.int64], _Floats]:
        """The distinct tokens of some texts, and their weights in each: float32 [texts, tokens]."""
        counts = self.offsets[texts + 1] - self.offsets[texts]
        places = np.repeat(self.offsets[texts] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        tokens, columns = np.unique(self.tokens[places], return_inverse=True)
        found = np.zeros((len(texts), len(tokens)), np.float32)
        found[np.repeat(np.arange(len(texts)), counts), columns] = self.weights[places]
        return tokens, found


@dataclass(frozen=True, slots=True)
class Lesson:
    """The pairs of one package: for each query the row of its chunk in `chunks`."""

    package: Package
    queries: Bags
    chunks: Bags
    answers: NDArray[np.int64]


class Tokens:
    """From texts to bags, each run of a text tokenised once."""

    def __init__(self) -> None:
        self._tokenizer = static.read_tokenizer(static.tokenizer_path(), 1 << 20)
        self.of = functools.lru_cache(maxsize=1 << 19)(self._of)

    def _of(self, run: str) -> tuple[int, ...]:
        encoded = self._tokenizer.encode_batch_fast(list(words.parts(run)), add_special_tokens=False)
        return tuple(itertools.chain.from_iterable(one.ids for one in encoded))

    def bags(self, texts: Sequence[str]) -> Bags:
        """The tokens of texts."""
        counted = [Counter(itertools.chain.from_iterable(map(self.of, words.runs(text)))) for text in texts]
        offsets = np.zeros(len(counted) + 1, np.int64)
        np.cumsum([len(count) for count in counted], out=offsets[1:])
        tokens = np.fromiter(itertools.chain.from_iterable(counted), np.int64, offsets[-1])
        occurrences = np.fromiter(itertools.chain.from_iterable(count.values() for count in counted), np.float32, offsets[-1])
        return Bags(offsets, tokens, np.sqrt(occurrences))


def lessons(work: Path, listed: Sequence[Package]) -> Iterator[Lesson]:
    """The pairs of the packages that have any."""
    tokens = Tokens()
    for package in listed:
        folder = train_static_data.write_pairs(work, package)
        pairs = pq.read_table(folder / "pairs.parquet")
        if pairs.num_rows:
            texts = pq.read_table(folder / "chunks.parquet")["text"].to_pylist()
            answers = pairs["chunk"].to_numpy().astype(np.int64)
            yield Lesson(package, tokens.bags(pairs["query"].to_pylist()), tokens.bags(texts), answers)


@dataclass(frozen=True, slots=True)
class Pupil:
    """The table while it learns, with Adam's moments: float32 [tokens, d] each."""

    table: _Floats
    mean: _Floats
    square: _Floats

    @classmethod
    def of(cls, table: _Floats) -> Pupil:
        """A beginner."""
        return cls(table.copy(), np.zeros_like(table), np.zeros_like(table))

    def step(self, tokens: NDArray[np.int64], gradient: _Floats, rate: float, step: int) -> None:
        """Adam, of the rows that the batch has alone."""
        first, second = _BETAS
        self.mean[tokens] = mean = first * self.mean[tokens] + (1 - first) * gradient
        self.square[tokens] = square = second * self.square[tokens] + (1 - second) * np.square(gradient)
        size = rate * np.sqrt(1 - second**step) / (1 - first**step)
        self.table[tokens] -= size * mean / (np.sqrt(square) + 1e-8)


def batches(taught: Sequence[Lesson], drawn: np.random.Generator) -> list[list[tuple[int, NDArray[np.int64]]]]:
    """One pass: batches of (lesson, its pairs). What does not fill a group or a batch waits for another pass."""
    groups = []
    for number, lesson in enumerate(taught):
        order = drawn.permutation(len(lesson.answers))
        size = min(GROUP, len(order))
        groups += [(number, order[at : at + size]) for at in range(0, len(order) - size + 1, size)]
    places = drawn.permutation(len(groups))
    return [[groups[place] for place in places[at : at + GROUPS]] for at in range(0, len(groups) - GROUPS + 1, GROUPS)]


@dataclass(frozen=True, slots=True)
class Pooled:
    """One side of a batch: its tokens, their weights in each text [n, tokens], unit vectors [n, d] and lengths [n, 1]."""

    tokens: NDArray[np.int64]
    weights: _Floats
    units: _Floats
    lengths: _Floats

    def gradient(self, towards: _Floats) -> _Floats:
        """The gradient by the rows of its tokens, float32 [tokens, d], from that by its unit vectors."""
        along = (towards * self.units).sum(axis=1, keepdims=True)
        return self.weights.T @ ((towards - along * self.units) / self.lengths)


def pooled(table: _Floats, parts: Sequence[tuple[Bags, NDArray[np.int64]]], kept: Callable[[_Floats], _Floats]) -> Pooled:
    """The texts of several lessons; `kept` drops some of their weights."""
    matrices = [bags.matrix(texts) for bags, texts in parts]
    tokens = functools.reduce(np.union1d, (own for own, _ in matrices))
    weights = np.zeros((sum(len(matrix) for _, matrix in matrices), len(tokens)), np.float32)
    at = 0
    for own, matrix in matrices:
        weights[at : at + len(matrix), np.searchsorted(tokens, own)] = matrix
        at += len(matrix)
    weights = kept(weights)
    return Pooled(tokens, weights, *_units(weights @ table[tokens]))


def _units(sums: _Floats) -> tuple[_Floats, _Floats]:
    """Rows at unit length, and how long they were; a text may have lost all its tokens."""
    lengths = np.sqrt(np.square(sums).sum(axis=1, keepdims=True)) + np.float32(1e-6)
    return sums / lengths, lengths


def learn(
    pupil: Pupil, taught: Sequence[Lesson], batch: Sequence[tuple[int, NDArray[np.int64]]], step: int, rate: float
) -> float:
    """Adam's step number `step`, from 1, by one batch; returns the loss."""
    drawn = np.random.default_rng(SEED + step)

    def dropping(share: float) -> Callable[[_Floats], _Floats]:
        return lambda weights: weights * (drawn.random(weights.shape, np.float32) >= share)

    given = [(taught[number], pairs) for number, pairs in batch]
    answers = [lesson.answers[pairs] for lesson, pairs in given]
    queries = pooled(pupil.table, [(lesson.queries, pairs) for lesson, pairs in given], dropping(DROPPED_OF_QUERY))
    chunks = pooled(
        pupil.table, [(lesson.chunks, rows) for (lesson, _), rows in zip(given, answers, strict=True)], dropping(DROPPED)
    )
    chunk = np.concatenate(answers)
    package = np.repeat([number for number, _ in batch], [len(rows) for rows in answers])
    again = (package[:, None] == package) & (chunk[:, None] == chunk)
    loss, change = _contrast(queries.units, chunks.units, again)
    tokens = np.union1d(queries.tokens, chunks.tokens)
    gradient = np.zeros((len(tokens), pupil.table.shape[1]), np.float32)
    gradient[np.searchsorted(tokens, queries.tokens)] += queries.gradient(change @ chunks.units)
    gradient[np.searchsorted(tokens, chunks.tokens)] += chunks.gradient(change.T @ queries.units)
    pupil.step(tokens, gradient, rate, step)
    return loss


def _contrast(queries: _Floats, chunks: _Floats, again: NDArray[np.bool_]) -> tuple[float, _Floats]:
    """InfoNCE in both directions, and its gradient by the cosines, float32 [n, n]. `again`: pairs of one chunk."""
    n = len(queries)
    scores = SHARPNESS * (queries @ chunks.T)
    scores[again & ~np.eye(n, dtype=bool)] = -np.inf
    change = np.zeros_like(scores)
    loss = 0.0
    for axis in (0, 1):
        exponents = np.exp(scores - scores.max(axis=axis, keepdims=True))
        shares = exponents / exponents.sum(axis=axis, keepdims=True)
        loss -= float(np.log(np.diagonal(shares) + 1e-30).mean()) / 2
        change += (shares - np.eye(n, dtype=np.float32)) * (SHARPNESS / (2 * n))
    return loss, change


def encoded(table: _Floats, bags: Bags) -> _Floats:
    """Unit vectors of texts: float32 [n, d]."""
    found = []
    for start in range(0, len(bags), 512):
        tokens, weights = bags.matrix(np.arange(start, min(start + 512, len(bags))))
        found.append(_units(weights @ table[tokens])[0])
    return np.concatenate(found)


def judge(table: _Floats, held_out: Sequence[Lesson]) -> float:
    """MRR@10 of the held-out packages, each searched among its own chunks: their mean."""
    ranks = []
    for lesson in held_out:
        asked = encoded(table, lesson.queries)[:_JUDGED]
        scores = asked @ encoded(table, lesson.chunks).T
        own = np.take_along_axis(scores, lesson.answers[: len(asked), None], axis=1)
        rank = (scores > own).sum(axis=1) + 1
        ranks.append(float(np.where(rank <= _K, 1 / rank, 0).mean()))
    return float(np.mean(ranks))


def train(start: _Floats, taught: Sequence[Lesson], held_out: Sequence[Lesson]) -> tuple[_Floats, list[float]]:
    """The best table of all passes, and what each pass was judged to be, the start first."""
    pupil = Pupil.of(start / np.sqrt(np.square(start).sum(axis=1)).mean())
    figures = [judge(pupil.table, held_out)]
    best = pupil.table.copy()
    print(f"before: MRR@{_K} {figures[0]:.4f} on {len(held_out)} packages that are held out", flush=True)
    drawn = np.random.default_rng(SEED)
    passes = [batches(taught, drawn) for _ in range(PASSES)]
    steps = sum(map(len, passes))
    step = 0
    for number, batches_of_pass in enumerate(passes, 1):
        losses = []
        for batch in batches_of_pass:
            step += 1
            rate = RATE * min(1.0, step / WARM_UP) * (1 - (step - 1) / steps)
            losses.append(learn(pupil, taught, batch, step, rate))
        figures.append(judge(pupil.table, held_out))
        print(f"pass {number}: loss {np.mean(losses):.3f}, MRR@{_K} {figures[-1]:.4f}", flush=True)
        if figures[-1] == max(figures):
            best = pupil.table.copy()
    return best, figures


def rounded(table: _Floats) -> tuple[NDArray[np.int8], NDArray[np.uint16]]:
    """Rows as int8 and what each is multiplied by, as uint16; only the directions of sums matter, so any unit will do."""
    largest = np.abs(table).max(axis=1)
    unit = largest.max() / np.iinfo(np.uint16).max
    scales = np.maximum(1, np.ceil(largest / unit))
    rows = np.rint(table / (scales * (unit / np.iinfo(np.int8).max))[:, None])
    return rows.astype(np.int8), scales.astype(np.uint16)


def write(out: Path, table: _Floats, listed: Sequence[Package], taught: Sequence[Lesson], figures: dict[str, float]) -> None:
    """The files of `pipeline/embed/weights`."""
    out.mkdir(parents=True, exist_ok=True)
    rows, scales = rounded(table)
    np.save(out / static.ROWS, rows)
    np.save(out / static.SCALES, scales)
    tokenizer = static.tokenizer_path()
    packages: dict[str, list[str]] = {}
    for package in sorted(listed, key=lambda one: one.key):
        packages.setdefault(f"{package.kind}, {package.licence}", []).append(f"{package.name}=={package.version}")
    card = static.Card(
        version=static.FORMAT,
        name=static.NAME,
        about="Token vectors for code search: WordLlama's table, trained on descriptions and the code that they describe.",
        licence="Apache-2.0; the table that it began as is WordLlama's, MIT, Copyright (c) 2024 Lee Miller",
        source={"wordllama": "0.4.0.post1", _SOURCE: digest_file(tokenizer.parents[1] / _SOURCE)},
        digests=static.Table(digest_file(out / static.ROWS), digest_file(out / static.SCALES), digest_file(tokenizer)),
        training={
            "script": Path(__file__).name,
            "pairs": sum(len(lesson.answers) for lesson in taught),
            "passes": PASSES,
            "pairs_of_batch": GROUP * GROUPS,
            "rate": RATE,
            "dropped": DROPPED,
            "dropped_of_query": DROPPED_OF_QUERY,
            "sharpness": SHARPNESS,
            "seed": SEED,
        },
        packages=packages,
        held_out=sorted(package.key for package in listed if package.held_out),
        figures=figures,
    )
    (out / static.CARD).write_bytes(canonical_json(msgspec.to_builtins(card)))


def main() -> int:
    """Train, judge and write."""
    parser = argparse.ArgumentParser(description="Train the embedded default's table.")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work", help="where downloads and pairs are kept")
    parser.add_argument("--out", type=Path, default=static.WEIGHTS, help="where the files are written")
    given = parser.parse_args()
    listed = train_static_data.packages()
    read = list(lessons(given.work.resolve(), listed))
    taught = [lesson for lesson in read if not lesson.package.held_out]
    held_out = [lesson for lesson in read if lesson.package.held_out]
    print(f"{sum(len(one.answers) for one in taught)} pairs of {len(taught)} packages", flush=True)
    start = load_file(static.tokenizer_path().parents[1] / _SOURCE)["embedding.weight"].astype(np.float32)
    table, judged = train(start, taught, held_out)
    rows, scales = rounded(table)
    kept = judge(rows * scales[:, None].astype(np.float32), held_out)
    print(f"kept, in 8 bits: MRR@{_K} {kept:.4f}")
    figures = {f"mrr@{_K} of WordLlama": round(judged[0], 4), f"mrr@{_K}": round(kept, 4)}
    write(given.out, table, listed, taught, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
