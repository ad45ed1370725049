"""The splade channel: chunks by learned weights of terms, also of terms that neither query nor chunk spells out.

Belongs here: what the channel says about a query. Not here: the model and the impact index (`index.splade`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.errors import IndexFormatError
from pipeline.index.splade import encoder
from pipeline.index.splade.impact_index import ImpactIndex
from pipeline.index.splade.index_files import EncoderFacts, open_postings, read_meta
from pipeline.search.channels.interface import Asked, ChannelOffError, Found
from pipeline.search.fusion import Ids, Ranking, Scores
from pipeline.search.opened import Opened

_SHOWN = 5
"""Terms that explain a hit."""


class _Index(NamedTuple):
    """What the channel searches, and who made it."""

    impacts: ImpactIndex
    made_by: EncoderFacts


def ask(opened: Opened, asked: Asked) -> Found:
    """The chunks with the largest inner products, over the `splade_query_terms` heaviest terms of the query.

    Raises `ChannelOffError` for a version that was built without, `IndexFormatError` when the model at hand is another.
    """
    artefact = opened.version.manifest.artefacts.get("splade_index")
    if artefact is None or artefact.facts["state"] == "off":
        raise ChannelOffError('this version was built without it; set `splade = "on"` and a `splade_model`, and build')
    impacts, made_by = opened.part("splade", lambda: _open(opened))
    model = opened.part("splade_encoder", lambda: _encoder(opened, made_by))
    query = model.encode_query(asked.query.text, opened.settings.splade_query_terms)
    ids, scores = impacts.search(query, asked.limit, allowed=asked.allowed)

    def products(candidates: Ids) -> Scores:
        return impacts.scores_of(query, candidates).astype(np.float32)

    def heaviest(document: int) -> str:
        matches = impacts.matches(query, document)[:_SHOWN]
        tokens = model.tokens([match.term for match in matches])
        return ", ".join(f"{token} {match.contribution:.2f}" for token, match in zip(tokens, matches, strict=True))

    return Found(Ranking(ids, scores.astype(np.float32)), scores_of=products, detail=heaviest)


def _open(opened: Opened) -> _Index:
    folder = opened.version.ensure("splade_index")
    meta = read_meta(folder)
    assert meta.encoder is not None  # the manifest says that the channel is on
    return _Index(ImpactIndex(open_postings(folder, meta, verified=True), bits=meta.bits), meta.encoder)


def _encoder(opened: Opened, made_by: EncoderFacts) -> encoder.SparseEncoder:
    model = encoder.load(opened.splade_settings)
    if model.digest != made_by.digest:
        what = f"another state of {model.name}" if model.name == made_by.name else f"{made_by.name}, not {model.name}"
        raise IndexFormatError(
            f"The impacts of {opened.version.name} were made by {what}.",
            hint="Set the `splade_model` that built the index, or run `indexctl build`.",
        )
    return model
