"""The one adapter from stages to assets.

`asset_of` reads a stage's signature: inputs become typed asset inputs, outputs typed asset outputs, checks of
`pipeline.release.checks` asset checks that run in the same step, and so do those of the gate, which block nothing here: whether
quality may fall is asked when a version is published. The body is memoised: it looks its key up in the store and
returns the object as reused, or builds it; data version and result are the same either way.

Belongs here: what is the same for every asset. Not here: descriptions and groups (the modules beside this one).
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset bodies as objects.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from assets.metadata import column_schema, result_metadata
from assets.partitions import REPOSITORIES
from pipeline.release.checks import CHECKS
from pipeline.release.findings import Finding, Roots, Subject
from pipeline.release.quality_gate import GATES, Gate, before_manifest
from pipeline.schemas import Kind
from pipeline.stage import Artefact, External, Stage
from pipeline.stages import KINDS
from pipeline.store.settling import settle
from resources.store import StoreResource

OWNERS = ("team:codeintel",)
CHANNEL_TAG = "codeintel/channel"
"""A tag of assets: the catalog finds what one channel needs by it."""
AFRESH_TAG = "codeintel/afresh"
"""A tag of runs: the assets, with commas between, that are made on nothing that was made before."""
AFRESH_JOBS: Mapping[str, tuple[str, ...]] = {
    "tune": ("tuning",),
    "evaluate": ("eval_queries", "eval_metrics", "coverage"),
}
"""Jobs that make assets anew, whoever launches them: Dagster gives the tags of a job to some of its runs only."""

Externals = Callable[[StoreResource, str, Mapping[str, Artefact[Any]]], Mapping[str, External]]
"""Makes a stage's external inputs from (store, repository name, inputs by asset)."""
RunTags = Callable[[StoreResource, str, Mapping[str, Artefact[Any]]], Mapping[str, str]]
"""Makes tags of the run from (store, repository name, what the stage settled on, by asset)."""


@dataclass(frozen=True, slots=True)
class Card:
    """How an asset presents itself."""

    description: str
    kinds: frozenset[str]
    channel: str | None = None
    """The channel of the search that it serves alone."""


def _dagster_type(kind: type[Kind]) -> dg.DagsterType:
    return dg.DagsterType(
        name=kind.__name__,
        type_check_fn=lambda _, value: isinstance(value, Artefact) and value.schema == kind.tag(),
        description=(kind.__doc__ or "").strip(),
    )


DAGSTER_TYPES: Mapping[str, dg.DagsterType] = {asset: _dagster_type(kind) for asset, kind in KINDS.items()}
"""Asset -> the type that Dagster shows and checks on both ends of an edge."""


def _no_externals(store: StoreResource, repository: str, inputs: Mapping[str, Artefact[Any]]) -> Mapping[str, External]:
    return {}


def asset_of(
    stage: Stage,
    *,
    group: str,
    cards: Mapping[str, Card],
    externals: Externals = _no_externals,
    run_tags: RunTags | None = None,
) -> dg.AssetsDefinition:
    """The asset, or multi-asset, of a stage. `cards` by asset name; `run_tags`, given to the run once the stage is settled."""
    outputs = {kind.asset: kind for kind in stage.outputs.values()}
    checks = [check for check in CHECKS if check.asset in outputs]
    gates = [gate for gate in GATES if gate.asset in outputs]

    decorate = dg.multi_asset(
        name=stage.name,
        ins={
            name: dg.AssetIn(key=kind.asset, dagster_type=DAGSTER_TYPES[kind.asset], input_manager_key="artefacts")
            for name, kind in stage.inputs.items()
        },
        outs={
            asset: dg.AssetOut(
                key=asset,
                dagster_type=DAGSTER_TYPES[kind.asset],
                io_manager_key="artefacts",
                description=cards[asset].description,
                group_name=group,
                kinds=set(cards[asset].kinds),
                owners=OWNERS,
                tags={CHANNEL_TAG: channel} if (channel := cards[asset].channel) else None,
                code_version=stage.code_version,
                metadata=column_schema(kind),
            )
            for asset, kind in outputs.items()
        },
        check_specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=check.asset,
                description=check.description,
                blocking=check.blocking,
                partitions_def=REPOSITORIES,
            )
            for check in checks
        ]
        + [
            dg.AssetCheckSpec(gate.name, asset=gate.asset, description=gate.description, partitions_def=REPOSITORIES)
            for gate in gates
        ],
        partitions_def=REPOSITORIES,
    )

    def body(context: dg.AssetExecutionContext, store: StoreResource, **inputs: Artefact[Any]) -> Any:
        name = context.partition_key
        by_asset = {artefact.asset: artefact for artefact in inputs.values()}
        result = settle(
            store.repository(name),
            stage,
            by_asset,
            store.settings(name),
            externals=externals(store, name, by_asset),
            runtime=store.runtime(),
            full=not outputs.keys().isdisjoint(afresh_in(context.run)),
        )
        if run_tags is not None:
            context.instance.add_run_tags(context.run.run_id, run_tags(store, name, result.artefacts))
        known = by_asset | dict(result.artefacts)
        roots = {asset: artefact.path for asset, artefact in known.items()}
        subject = Subject(roots, {asset: artefact.digests for asset, artefact in known.items()})
        judged = _judged(gates, store, name, roots)
        results = tuple(
            dg.MaterializeResult(
                asset_key=asset,
                value=artefact,
                data_version=dg.DataVersion(artefact.digest),
                metadata=result_metadata(KINDS[asset], artefact, result.seconds, result.observed.get(asset)),
                check_results=[
                    check_result(check.name, asset, check.run(subject), blocking=check.blocking)
                    for check in checks
                    if check.asset == asset
                ]
                + [check_result(gate.name, asset, judged[gate.name]) for gate in gates if gate.asset == asset],
            )
            for asset, artefact in result.artefacts.items()
        )
        return results if len(results) > 1 else results[0]

    # Dagster would want the annotation of a tuple where there are several outputs; `outs` says all that there is to say.
    del body.__annotations__["return"]
    return decorate(body)


def afresh_in(run: dg.DagsterRun) -> frozenset[str]:
    """The assets that a run makes on nothing that was made before."""
    return frozenset((*run.tags.get(AFRESH_TAG, "").split(","), *AFRESH_JOBS.get(run.job_name, ())))


def _judged(gates: Sequence[Gate], store: StoreResource, name: str, roots: Roots) -> Mapping[str, Finding]:
    """What the gate says of what was just made, compared with what is published now."""
    if not gates:
        return {}
    candidate = before_manifest(store.repository(name), roots, store.settings(name).recorded())
    return {gate.name: gate.run(candidate) for gate in gates}


def check_result(name: str, asset: str, finding: Finding, *, blocking: bool = True) -> dg.AssetCheckResult:
    """A finding in Dagster's terms."""
    metadata: dict[str, Any] = dict(finding.facts)
    if finding.problems:
        metadata["problems"] = dg.MetadataValue.md("\n".join(f"- {problem}" for problem in finding.problems))
    severity = dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(check_name=name, asset_key=asset, passed=finding.passed, severity=severity, metadata=metadata)
