"""The asset graph as Dagster sees it: edges, what every asset says of itself, and what materialising does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import msgspec
import pytest

from assets.adapter import DAGSTER_TYPES
from assets.highlights import HIGHLIGHTS
from assets.partitions import PARTITION_SET
from pipeline.definitions import BUILD_JOB, Overrides, build_definitions
from pipeline.errors import CodeIntelError, StoreBusyError
from pipeline.release.checks import CHECKS
from pipeline.release.quality_gate import GATES
from pipeline.release.verification import VERSION_FINDINGS, verify_folder
from pipeline.schemas import Chunks, EvalMetrics
from pipeline.stages import KINDS, STAGES
from pipeline.store.layout import Repository, open_store
from pipeline.store.locks import builder
from pipeline.store.versions import current_name
from pipeline.tables import read_table

MADE_ALWAYS = {"report", "current"}
ASSETS = {*KINDS, *MADE_ALWAYS}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(Overrides(data=tmp_path_factory.mktemp("nowhere")))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions(PARTITION_SET, ["demo"])
        yield made


def materialize(
    store: Path, instance: dg.DagsterInstance, *assets: str, raise_on_error: bool = True
) -> dg.ExecuteInProcessResult:
    job = build_definitions(Overrides(data=store)).resolve_job_def(BUILD_JOB)
    selection = [dg.AssetKey(asset) for asset in assets] or None
    return job.execute_in_process(
        instance=instance, partition_key="demo", asset_selection=selection, raise_on_error=raise_on_error
    )


def materializations(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    found = {}
    for event in result.get_asset_materialization_events():
        materialization = event.materialization
        found[materialization.asset_key.path[-1]] = {
            **{name: value.value for name, value in materialization.metadata.items()},
            "data_version": materialization.tags["dagster/data_version"],
        }
    return found


def test_definitions_load(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    assert {key.path[-1] for key in definitions.resolve_asset_graph().get_all_asset_keys()} == ASSETS


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_edge_of_the_graph_is_in_a_stages_signature(definitions: dg.Definitions, stage: Any) -> None:
    graph = definitions.resolve_asset_graph()
    expected = {kind.asset for kind in stage.inputs.values()}
    for asset in stage.assets:
        assert {key.path[-1] for key in graph.get(dg.AssetKey(asset)).parent_keys} == expected


def test_only_the_manifest_leads_to_the_flip(definitions: dg.Definitions) -> None:
    assert {key.path[-1] for key in definitions.resolve_asset_graph().get(dg.AssetKey("current")).parent_keys} == {"manifest"}


@pytest.mark.parametrize("asset", sorted(ASSETS))
def test_every_asset_says_what_it_is(definitions: dg.Definitions, asset: str) -> None:
    node = definitions.resolve_asset_graph().get(dg.AssetKey(asset))
    assert node.description and len(node.description) > 30
    assert node.group_name in {"source", "structure", "chunks", "index", "quality", "release"}
    assert node.kinds and list(node.owners) == ["team:codeintel"]
    assert node.code_version
    assert isinstance(node.partitions_def, dg.DynamicPartitionsDefinition) and node.partitions_def.name == "repo"


def test_inputs_and_outputs_are_typed(definitions: dg.Definitions) -> None:
    for asset in KINDS:
        made = definitions.resolve_assets_def(dg.AssetKey(asset))
        assert made.op.output_dict[asset].dagster_type is DAGSTER_TYPES[asset]
        for name, key in made.keys_by_input_name.items():
            assert made.op.input_dict[name].dagster_type is DAGSTER_TYPES[key.path[-1]]


def test_a_wrong_kind_of_artefact_is_no_input(definitions: dg.Definitions) -> None:
    assert not DAGSTER_TYPES["chunks"].type_check(None, "chunks").success  # type: ignore[arg-type]


def test_every_check_of_the_engine_is_an_asset_check(definitions: dg.Definitions) -> None:
    keys = definitions.resolve_asset_graph().asset_check_keys
    found = {(key.asset_key.path[-1], key.name) for key in keys}
    quality = {(gate.asset, gate.name) for gate in GATES}
    assert found == {(check.asset, check.name) for check in CHECKS} | quality | {("current", name) for name in VERSION_FINDINGS}


def test_the_gate_blocks_no_step_but_the_flip(definitions: dg.Definitions) -> None:
    """`current` can be told to publish all the same; a blocking check would not let it run."""
    graph = definitions.resolve_asset_graph()
    for gate in GATES:
        assert not graph.get(dg.AssetCheckKey(dg.AssetKey(gate.asset), gate.name)).blocking
    assert "allow_regression" in definitions.resolve_assets_def("current").op.config_schema.config_type.fields


@pytest.fixture
def store(world: Any) -> Path:
    """A copy of the demo store, built and published, with its repository registered as `demo`."""
    return world.store


def place(store: Path) -> Repository:
    return open_store(store).existing("demo")


def test_materialize_all_of_a_built_repository_reuses_everything(store: Path, instance: dg.DagsterInstance) -> None:
    before = current_name(place(store))
    first = materializations(materialize(store, instance))
    second = materializations(materialize(store, instance))
    assert set(first) == ASSETS
    assert all(made["reused"] for asset, made in first.items() if asset not in MADE_ALWAYS)
    assert {asset: made["data_version"] for asset, made in first.items()} == {
        asset: made["data_version"] for asset, made in second.items()
    }
    assert first["current"]["flipped"] is False
    assert current_name(place(store)) == before


def test_a_first_run_builds_checks_and_publishes(store: Path, instance: dg.DagsterInstance) -> None:
    for folder in ("objects", "versions", "refs"):
        shutil.rmtree(place(store).path / folder)
    place(store).current.unlink()
    result = materialize(store, instance)
    made = materializations(result)
    assert not any(facts.get("reused") for facts in made.values())
    assert made["chunks"]["dagster/row_count"] == made["chunks"]["chunks"] > 0
    assert made["chunks"]["sample"].startswith("| id | uri")
    checks = result.get_asset_check_evaluations()
    assert len(checks) == len(CHECKS) + len(GATES) + len(VERSION_FINDINGS) and all(check.passed for check in checks)
    name = current_name(place(store))
    assert name == made["current"]["version"]
    assert "| python | 3 | 3 |" in made["current"]["by_language"]
    assert verify_folder(place(store).versions / str(name)).ok


NEW_TABLES = {
    "scip_occurrences": "| provenance | roles | count |",
    "scip_symbols": "| provenance | kind | count |",
    "cst_nodes": None,
    "modules": "| uri | hotspot_score | churn | authors | complexity | lines |",
    "chunk_symbols": "| role | rows | occurrences |",
    "symbol_edges": None,
}


def test_assets_of_symbols_show_rows_columns_and_a_table_worth_reading(
    store: Path, instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    made = materializations(materialize(store, instance))
    graph = definitions.resolve_asset_graph()
    for asset, heading in NEW_TABLES.items():
        assert made[asset]["dagster/row_count"] > 0 and made[asset]["sample"].count("\n") > 1
        assert [column.name for column in graph.get(dg.AssetKey(asset)).metadata["dagster/column_schema"].columns] == (
            KINDS[asset].schema.names  # type: ignore[attr-defined]
        )
        assert heading is None or heading in {str(value).split("\n")[0] for value in made[asset].values()}
    assert "| python | ty-scip" in made["scip_index"]["indexers"]
    assert "| calls |" in made["symbol_edges"]["edges_by_kind"] and "| function |" in made["cst_nodes"]["nodes_by_kind"]
    scores = [float(line.split("|")[2]) for line in made["modules"]["hottest"].splitlines()[2:]]
    assert len(scores) == made["modules"]["modules"] and scores == sorted(scores, reverse=True)
    by_role = [line.split("|")[1:4] for line in made["scip_occurrences"]["by_role"].splitlines()[2:]]
    assert sum(int(count) for *_, count in by_role) == made["scip_occurrences"]["occurrences"]
    assert {"scip", "syntax"} == {provenance.strip() for provenance, *_ in by_role}
    assert any("definition" in roles for _, roles, _ in by_role)
    assert "by_provenance" in made["scip_symbols"] and "left_out" not in made["scip_symbols"]


SECRET = "hunter2zq41"
_WITH_SECRETS = f'''"""Opens with {SECRET}."""

PASSWORD = "{SECRET}"  # {SECRET}


def opened_by(word: str = "{SECRET}") -> bool:
    """Whether the gate opens when told {SECRET}."""
    return word == PASSWORD
'''
"""Somebody's secret: as a value, in a comment and in documentation."""


def test_no_text_of_the_repository_gets_into_what_dagster_keeps(world: Any, store: Path, instance: dg.DagsterInstance) -> None:
    (world.repo / "harbour" / "a_secret.py").write_text(_WITH_SECRETS)
    (world.repo / "0.md").write_text(f"Say {SECRET} at the gate.\n")
    result = materialize(store, instance)
    indexed = read_table(place(store).versions / str(current_name(place(store))), Chunks, ["content"])
    assert SECRET in "".join(indexed["content"].to_pylist())
    told = [entry.to_json() for entry in instance.all_logs(result.run_id)]
    assert "harbour/a_secret.py" in "".join(told)
    around = [one[max(0, one.index(SECRET) - 200) : one.index(SECRET) + 100] for one in told if SECRET in one]
    assert not around, around


def test_columns_of_every_table_are_described(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    shown = {
        asset: node.metadata["dagster/column_schema"].columns
        for asset in KINDS
        if "dagster/column_schema" in (node := graph.get(dg.AssetKey(asset))).metadata
    }
    assert {"source_snapshot", "embeddings", "eval_metrics", "coverage", "faiss_idmap"} <= set(shown)
    for asset, columns in shown.items():
        assert all(column.description and column.description.endswith((".", "…")) for column in columns), asset


def test_a_run_is_tagged_with_what_it_builds(
    world: Any, store: Path, instance: dg.DagsterInstance, git: Callable[..., str]
) -> None:
    result = materialize(store, instance)
    tags = instance.get_run_by_id(result.run_id).tags  # type: ignore[union-attr]
    assert tags["codeintel/commit"] == git(world.repo, "rev-parse", "HEAD").strip()
    assert tags["codeintel/branch"] == git(world.repo, "branch", "--show-current").strip() != ""
    assert tags["codeintel/version"] == current_name(place(store))


def test_assets_of_a_channel_are_found_by_its_tag(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    channels = {asset: graph.get(dg.AssetKey(asset)).tags.get("codeintel/channel") for asset in KINDS}
    assert {asset for asset, channel in channels.items() if channel == "dense"} == {
        "embeddings", "faiss_index", "faiss_idmap", "tuning"
    }  # fmt: skip
    assert (channels["lexical_index"], channels["splade_index"], channels["chunks"]) == ("lexical", "splade", None)


def test_names_of_files_are_shown_as_they_are_and_never_as_markup(
    world: Any, store: Path, instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    (world.repo / "[a](b)<i>*x*.py").write_text("def _hidden(): pass\n")
    made = materializations(materialize(store, instance))
    assert "harbour/\\_\\_init\\_\\_.py" in made["modules"]["sample"]
    assert "\\[a\\](b)\\<i\\>\\*x\\*.py" in made["modules"]["hottest"]
    columns = definitions.resolve_asset_graph().get(dg.AssetKey("modules")).metadata["dagster/column_schema"].columns
    assert {column.name: column.type for column in columns}["lang"] == "string"


def test_an_asset_selected_alone_takes_its_inputs_from_the_store(store: Path, instance: dg.DagsterInstance) -> None:
    made = materializations(materialize(store, instance, "chunks"))
    assert list(made) == ["chunks"] and made["chunks"]["reused"]


def test_a_run_materialises_the_idmap_where_the_settings_say_so_and_goes_on_without(
    store: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = open_store(store).existing("demo").catalog
    materialize(store, instance, "current")
    assert not catalog.exists()
    monkeypatch.setenv("CODEINTEL_MATERIALIZE_IDMAP", "true")
    assert materialize(store, instance, "current").success
    with closing(duckdb.connect(str(catalog))) as held:
        assert held.execute("SELECT version FROM codeintel_catalog").fetchall() == [
            (current_name(open_store(store).existing("demo")),)
        ]
        assert held.execute("SELECT count(*) > 0 FROM v_faiss_join_mat").fetchall() == [(True,)]
        # Open for writing elsewhere: that is a warning, and no reason to fail.
        assert materialize(store, instance, "current").success


def test_times_of_building_and_tuning_stand_in_the_metadata_of_the_assets_and_in_no_object(
    store: Path, instance: dg.DagsterInstance
) -> None:
    repository = place(store)
    for asset in ("faiss_index", "tuning"):
        shutil.rmtree(repository.objects / asset)
        (repository.path / "observed" / f"{asset}.json").unlink()
    made = materializations(materialize(store, instance, "faiss_index", "tuning"))
    assert made["faiss_index"]["adding_seconds"] > 0 and made["faiss_index"]["threads"] >= 1
    assert made["tuning"]["tuning_seconds"] > 0 and made["tuning"]["observed_at"] > 0
    assert made["tuning"]["latency"].startswith("| point | chosen | median") and "| exact | yes |" in made["tuning"]["latency"]
    again = materializations(materialize(store, instance, "faiss_index", "tuning"))
    assert again["tuning"]["reused"] and again["tuning"]["latency"] == made["tuning"]["latency"]
    (repository.path / "observed" / "tuning.json").unlink()
    unknown = materializations(materialize(store, instance, "tuning"))
    assert unknown["tuning"]["reused"] and not {"latency", "tuning_seconds", "observed_at"} & set(unknown["tuning"])
    for path in repository.objects.glob("*/*/object.json"):
        assert not [name for name in msgspec.json.decode(path.read_bytes())["facts"] if "second" in name or "latency" in name]


def test_inputs_of_different_states_are_refused(world: Any, instance: dg.DagsterInstance) -> None:
    (world.repo / "harbour" / "tides.py").write_text("def low_water():\n    return 6\n")
    materialize(world.store, instance, "source_snapshot")
    with pytest.raises(CodeIntelError, match="different states of `source_snapshot`"):
        materialize(world.store, instance, "chunks")


def test_a_manifest_of_another_scan_is_refused(world: Any, instance: dg.DagsterInstance) -> None:
    (place(world.store).path / "scan.json").unlink()
    with pytest.raises(CodeIntelError, match="not from its last scan"):
        materialize(world.store, instance, "manifest")


def test_current_selected_alone_verifies_again(store: Path, instance: dg.DagsterInstance) -> None:
    repository = place(store)
    name = str(current_name(repository))
    shutil.rmtree(repository.versions / name)
    vectors = next(repository.objects.glob("embeddings/*/vectors/shard-000.npy"))
    data = bytearray(vectors.read_bytes())
    data[-1] ^= 1
    vectors.write_bytes(data)
    with pytest.raises(CodeIntelError, match=r"is not published: embeddings: vectors/shard-000\.npy"):
        materialize(store, instance, "current")
    assert not (repository.versions / name).exists()


def test_a_damaged_input_is_refused_by_the_asset_that_reads_it(store: Path, instance: dg.DagsterInstance) -> None:
    part = next(place(store).objects.glob("chunks/*/chunks/part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(CodeIntelError, match=r"chunks/.* is damaged"):
        materialize(store, instance, "embeddings")


def test_a_failed_check_keeps_what_depends_on_it_from_running(
    store: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipeline.release.checks as checks
    from pipeline.store import readings

    broken = next(check for check in CHECKS if check.name == "chunk_ids_unique")
    readings.forget()
    monkeypatch.setattr(type(broken), "_find", lambda self, roots: checks.Finding(("made to fail",)))
    result = materialize(store, instance, raise_on_error=False)
    assert not result.success
    assert "current" not in materializations(result)


def test_a_run_holds_the_builders_lock(store: Path, instance: dg.DagsterInstance, elsewhere: Callable[..., Any]) -> None:
    with elsewhere(place(store)), pytest.raises(dg.DagsterUserCodeExecutionError) as refused:
        materialize(store, instance)
    assert isinstance(refused.value.__cause__, StoreBusyError)
    with builder(place(store)):
        assert materialize(store, instance).success


def test_an_unregistered_partition_is_a_clear_error(tmp_path: Path, store: Path, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(PARTITION_SET, ["ghost"])
    job = build_definitions(Overrides(data=store)).resolve_job_def(BUILD_JOB)
    with pytest.raises(dg.DagsterUserCodeExecutionError) as refused:
        job.execute_in_process(instance=instance, partition_key="ghost")
    assert "There is no repository `ghost`" in str(refused.value.__cause__)


def test_the_report_is_found_by_the_path_in_its_metadata(store: Path, instance: dg.DagsterInstance) -> None:
    made = materializations(materialize(store, instance))
    page = Path(made["report"]["path"])
    assert page.parent == place(store).path / "reports" and "page" not in made["report"]
    assert "find an answer" in page.read_text() and "find an answer" in made["report"]["verdict"]
    assert "| checks | all hold |" in made["report"]["summary"]
    assert made["report"]["ndcg_by_group"].startswith("![nDCG by group](data:image/svg+xml;base64,")


def test_the_evaluation_tells_its_figures_and_worst_queries(store: Path, instance: dg.DagsterInstance) -> None:
    made = materializations(materialize(store, instance))["eval_metrics"]
    assert 0 <= made["ndcg"] <= 1 and 0 <= made["hit"] <= 1 and 0 <= made["recall"] <= 1
    name, pick = HIGHLIGHTS[EvalMetrics]
    rows = pick(place(store).versions / str(current_name(place(store))))
    assert rows.column_names == ["rank", "looked for", "label", "masked", "in"]
    assert (name in made) == (rows.num_rows > 0)
    assert made["ndcg_by_group"].startswith("![ndcg_by_group](data:image/svg+xml;base64,")
