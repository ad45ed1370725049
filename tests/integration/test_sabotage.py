"""A generated repository, published once; then builds that went wrong in ways that every digest agrees with.

What a stage writes is spoilt before it is sealed, so that the store believes it. Each is refused with its reason, the published
version stays and answers. Builds that did no harm are published, every one.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.embed.arrays import open_arrays, write_arrays
from pipeline.embed.static import StaticEmbedder
from pipeline.errors import InvariantViolationError
from pipeline.evaluation.comparison import compare
from pipeline.index.tuning.locked_point import Lock, read_lock
from pipeline.release import verification
from pipeline.release.publication import Publication, publish
from pipeline.schemas import Chunks, Embeddings, Table
from pipeline.source.history import read_history
from pipeline.source.scan import scan
from pipeline.stage import Artefact
from pipeline.stages import CHUNKS, EMBEDDINGS, LEXICAL, MANIFEST, STAGES, identity_of
from pipeline.store.layout import Origin, Repository, open_store, read_origin, settings_of, write_origin
from pipeline.store.settling import settle
from pipeline.store.versions import current_name, history
from pipeline.workers import Runtime

SETTINGS: Mapping[str, Any] = {
    "chunk_budget": 300, "scip": "off", "cst": False, "eval_queries": 120, "coverage_queries": 60,
}  # fmt: skip
NOUNS = (
    "anchor", "berth", "cargo", "dock", "engine", "ferry", "gangway", "harbour", "invoice", "jetty", "keel", "ledger", "mast",
    "navigator", "oar", "passenger", "quay", "rudder", "sail", "tide", "uniform", "voyage", "winch", "yacht", "zone", "barrel",
    "crane", "drone", "export", "freight",
)  # fmt: skip
VERBS = {
    "open": ("Let {} in after the papers were looked at, and note who asked.", "papers = look(asked); admit(papers)"),
    "close": ("End all work on {} before the night, and send people home.", "stop_work(tonight); send_home(people)"),
    "weigh": ("Find how heavy {} is, with what lies on top of it.", "heavy = scales.read(); heavy += on_top(load)"),
    "price": ("Work out what {} costs for a day, discounts taken off.", "costs = daily_rate(); costs -= discounts(costs)"),
    "repair": ("Mend {} with parts from the store and tell the owner.", "parts = store.take(); mend(parts); owner.tell()"),
    "paint": ("Give {} a new coat where the old one came off.", "coat = mix(colour); brush(coat, where_old_came_off)"),
    "count": ("How many of {} there are now, the broken ones left out.", "many = [one for one in here if not one.broken]"),
    "report": ("Write down what became of {} during the last month.", "lines = diary.month(last); lines.write_down()"),
    "insure": ("Cover {} against storms, theft and fire for one year.", "cover = policy(storms, theft, fire); cover.years = 1"),
    "lease": ("Hand {} over to somebody else for a while against money.", "somebody.pay(money); hand_over(somebody, until)"),
}


def _module(noun: str, kind: str, seed: int) -> str:
    """A class with two methods and three functions, each with a docstring whose words come again in what it does."""
    draw = random.Random(seed)
    verbs = draw.sample(sorted(VERBS), 5)
    lines = [
        f'"""{kind} of the {noun}: what is known of it and who may change that."""',
        "",
        "",
        f"class {noun.title()}{kind}:",
    ]
    lines += [f'    """Holds every {noun} of the port and answers for its state."""', ""]
    for verb in verbs[:2]:
        said, does = VERBS[verb]
        lines += [
            f"    def {verb}_{noun}(self, {noun}: str, hours: int) -> int:",
            f'        """{said.format(f"the {noun}")}"""',
        ]
        lines += [f"        {does}", f"        return hours * {draw.randrange(2, 99)} + len({noun})", ""]
    for verb in verbs[2:]:
        said, does = VERBS[verb]
        lines += ["", f"def {verb}_{kind.lower()}_{noun}(items: list[str]) -> list[str]:"]
        lines += [f'    """{said.format(f"one {noun} of the {kind.lower()}")}"""', f"    {does}"]
        lines += [f"    return sorted(item for item in items if item != {noun!r})[: {draw.randrange(2, 99)}]", ""]
    return "\n".join(lines)


@dataclass(frozen=True)
class Port:
    """The generated tree, and the store that it is built into."""

    tree: Path
    store: Path
    run: Any

    @property
    def repository(self) -> Repository:
        return open_store(self.store).existing("port")

    @property
    def versions(self) -> list[str]:
        """What lies there, leftovers too."""
        return sorted(path.name for path in self.repository.versions.iterdir())

    def build(self, *arguments: str, **settings: Any) -> Any:
        """As people build: through the graph, with its blocking checks."""
        given = {f"CODEINTEL_{name.upper()}": str(value).lower() for name, value in {**SETTINGS, **settings}.items()}
        command = ("build", self.tree, "--data", self.store, "--ephemeral", "-q", *arguments)
        return self.run(*command, env={**given, "CODEINTEL_WORKERS": "1"})

    def publish(self, **settings: Any) -> Publication:
        """Every stage and the publication alone, which has to see for itself what is wrong."""
        store, repository = open_store(self.store), self.repository
        chosen = settings_of(store, read_origin(repository), {**SETTINGS, **settings})
        scanned = scan(self.tree, settings=chosen.source)
        history = read_history(self.tree, commit=None, days=chosen.modules.churn_days)
        externals: dict[str, Any] = {"scan": scanned, "history": history, "lock": Lock(read_lock(repository))}
        made: dict[str, Artefact[Any]] = {}
        for stage in STAGES:
            if stage is MANIFEST:
                keys = {asset: artefact.key for asset, artefact in made.items()}
                externals["identity"] = identity_of(chosen, repository, None, False, keys)
            inputs = {kind.asset: made[kind.asset] for kind in stage.inputs.values()}
            named = {name: externals[name] for name in stage.externals}
            made |= settle(repository, stage, inputs, chosen, externals=named, runtime=Runtime(shared=store.shared)).artefacts
        return publish(repository, made["manifest"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> Port:
    """Published once. Nothing may write here."""
    root = tmp_path_factory.mktemp("sabotage")
    port = Port(root / "port", root / "store", indexctl)
    for seed, (noun, kind) in enumerate((noun, kind) for kind in ("Keeper", "Registry") for noun in NOUNS):
        path = port.tree / kind.lower() / f"{noun}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_module(noun, kind, seed))
    (port.tree / "README.md").write_text("# The port\n\nWho keeps what, and what it costs.\n")
    done = port.build()
    assert done.code == 0, done.err
    return port


@pytest.fixture
def port(built: Port, tmp_path: Path) -> Port:
    """A copy of it, with an edit that is not built yet: what a sabotaged stage makes is not there already."""
    copy = Port(tmp_path / "port", tmp_path / "store", built.run)
    shutil.copytree(built.tree, copy.tree)
    shutil.copytree(built.store, copy.store)
    write_origin(copy.repository, Origin("port", str(copy.tree)))
    edited = copy.tree / "keeper/quay.py"
    edited.write_text(edited.read_text() + "\n\nLONGEST = 12\n")
    return copy


@pytest.fixture
def refused(port: Port) -> Iterator[Callable[..., str]]:
    """Build, and return what is said of why it is not published; then see that who searches finds what was there before."""

    def build(*arguments: str, **settings: Any) -> str:
        before = current_name(port.repository)
        done = port.build(*arguments, **settings)
        assert done.code == 1 and current_name(port.repository) == before and port.versions == [before]
        return str(done.err)

    yield build
    answer = port.run("search", "weigh_anchor", "--data", port.store, "--json")
    assert answer.code == 0 and json.loads(answer.out)["results"][0]["uri"].endswith("anchor.py")


Vectors = npt.NDArray[np.float32]


def _spoil_vectors(change: Callable[[Vectors], Vectors]) -> Callable[[Mapping[str, Path]], None]:
    """Change every vector in both of its forms, so that they agree."""

    def spoil(folders: Mapping[str, Path]) -> None:
        root = folders["embeddings"]
        mapped, honest = open_arrays(root)
        # What is mapped is written over.
        ids, vectors = mapped.copy(), change(honest[:].copy()).astype(np.float32)
        write_arrays(root, ids, vectors)
        for number, path in enumerate(tables.parts(root, Embeddings)):
            part = tables.plain(tables.read_part(path, Embeddings))
            rows = vectors[np.searchsorted(ids, part["id"].to_numpy())]
            schema = part.schema.remove_metadata()
            filled = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), vectors.shape[1]).cast(
                schema.field("embedding").type
            )
            column = part.schema.get_field_index("embedding")
            tables.write_part(
                root / Embeddings.name, Embeddings, number, part.set_column(column, schema.field("embedding"), filled), schema
            )

    return spoil


def _shuffled(vectors: Vectors) -> Vectors:
    return vectors[np.random.default_rng(3).permutation(len(vectors))]


def _of_another_embedder(vectors: Vectors) -> Vectors:
    """As good as before among themselves, and in another space."""
    turned, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(vectors.shape[1],) * 2))
    return np.asarray(vectors @ turned, np.float32)


FOREIGN = "vectors_of_embedder: stored vectors are not those that the manifest's embedder makes of their chunks"


@pytest.mark.parametrize("change", [_shuffled, _of_another_embedder])
def test_vectors_that_are_not_those_of_their_chunks(change: Any, refused: Any, sabotage: Any) -> None:
    sabotage(EMBEDDINGS, _spoil_vectors(change))
    assert FOREIGN in refused()


def test_no_permission_lets_foreign_vectors_pass(refused: Any, sabotage: Any) -> None:
    sabotage(EMBEDDINGS, _spoil_vectors(_shuffled))
    assert FOREIGN in refused("--allow-regression")


def test_publication_sees_foreign_vectors_without_the_graph(port: Port, sabotage: Any) -> None:
    sabotage(EMBEDDINGS, _spoil_vectors(_shuffled))
    with pytest.raises(InvariantViolationError, match="vectors_of_embedder"):
        port.publish()


def _halve(kind: type[Table]) -> Callable[[Mapping[str, Path]], None]:
    def spoil(folders: Mapping[str, Path]) -> None:
        root = folders[kind.asset]
        for number, path in enumerate(tables.parts(root, kind)):
            part = tables.plain(tables.read_part(path, kind))
            half = part.filter(pa.array(np.arange(part.num_rows) % 2 == 0))
            tables.write_part(root / kind.name, kind, number, half, tables.read_part(path, kind).schema.remove_metadata())

    return spoil


def test_half_of_the_chunks(refused: Any, sabotage: Any) -> None:
    sabotage(CHUNKS, _halve(Chunks))
    said = refused()
    assert "chunks_gapless" in said and "gap, overlap or empty chunk" in said


def test_half_of_the_chunks_is_seen_by_coverage_too(port: Port, sabotage: Any, monkeypatch: Any) -> None:
    sabotage(CHUNKS, _halve(Chunks))
    seeing = {"chunks_gapless", "defining_identifiers_in_one_chunk", "symbol_counts_agree"}
    monkeypatch.setattr(verification, "CHECKS", [check for check in verification.CHECKS if check.name not in seeing])
    with pytest.raises(InvariantViolationError) as caught:
        port.publish()
    said = caught.value.message
    assert "coverage_bound: " in said and "definitions lie inside of chunks that are in every index" in said


def test_half_of_the_chunks_in_one_index(refused: Any, monkeypatch: Any) -> None:
    honest = LEXICAL.function

    def half(**arguments: Any) -> Any:
        return honest(**{**arguments, "chunks": _half_of(arguments["chunks"])})

    half.__name__ = honest.__name__
    object.__setattr__(LEXICAL, "function", half)
    try:
        assert "documents_match_chunks" in refused()
    finally:
        object.__setattr__(LEXICAL, "function", honest)


def _half_of(chunks: Artefact[Any]) -> Artefact[Any]:
    folder = chunks.path.parent / "half"
    shutil.copytree(chunks.path, folder, dirs_exist_ok=True)
    _halve(Chunks)({Chunks.asset: folder})
    return replace(chunks, path=folder)


def test_a_channel_that_is_broken(refused: Any, monkeypatch: Any) -> None:
    def gone(self: Any, queries: Any) -> Any:
        raise RuntimeError("the weights are gone")

    with monkeypatch.context() as patched:
        patched.setattr(StaticEmbedder, "encode_queries", gone)
        said = refused()
    assert "channels_answer: the channel `dense` cannot answer: RuntimeError: the weights are gone" in said


def test_too_few_lists_of_a_forced_index(refused: Any) -> None:
    said = refused(faiss_family="ivf_flat", nlist=4, autotune_on_start=False, default_nprobe=1)
    assert "recall_bound: at nprobe=1" in said and "of their nearest vectors" in said and "`recall_bound`" in said


WORSE = {"lexical_weight": 0.02, "symbol_weight": 0.0}


def test_a_worse_ranking(refused: Any) -> None:
    said = refused(**WORSE)
    assert "quality_not_regressed: compared with v-" in said and "queries got worse: `" in said
    assert "setting lexical_weight: 1 -> 0.02" in said and "setting symbol_weight: 2 -> 0" in said


def test_a_worse_ranking_is_published_where_somebody_allows_it(port: Port) -> None:
    before = current_name(port.repository)
    assert port.build("--allow-regression", **WORSE).code == 0
    assert current_name(port.repository) != before
    assert "quality_not_regressed" in history(port.repository)[-1].reason


def _harmless(port: Port) -> Iterator[str]:
    """Twenty edits, one after the other, that make no index worse."""
    draw = random.Random(11)
    for number in range(4):
        path = draw.choice(sorted(port.tree.rglob("*.py")))
        before = path.read_text()
        path.write_text(
            before.replace("\n\ndef ", "\n\n# Kept since the port was opened, see the papers of that year.\ndef ", 2)
        )
        yield "a comment"
        path.write_text(before)
        yield "the comment taken back"
        (port.tree / "keeper" / f"newcomer_{number}.py").write_text(_module(draw.choice(NOUNS), "Friend", 100 + number))
        yield "a new file"
        moved = draw.choice(sorted(port.tree.rglob("*.py")))
        moved.rename(moved.with_name(f"former_{moved.name}"))
        yield "another name"
        draw.choice(sorted(port.tree.rglob("*.py"))).unlink()
        yield "a file less"


def test_harmless_builds_are_published_every_time(port: Port) -> None:
    outcomes = [(edit, port.publish()) for edit in _harmless(port)]
    assert len(outcomes) == 20 and all(done.flipped for _, done in outcomes)
    for _, done in outcomes:
        # It was not for want of something to compare with.
        compared = compare(done.path.parent / str(done.previous), done.path)
        assert not compared.incomparable and compared.shared > 80
