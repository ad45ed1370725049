"""What must hold of the artefacts of optional channels, which are there also where their channel is off.

Belongs here: checks as in `checks`. Not here: when they run (`checks`, `verification`).
"""

from __future__ import annotations

import numpy as np

from pipeline.index.splade import index_files, postings
from pipeline.release.findings import Finding, Subject, finding
from pipeline.schemas import SpladeIndex


def splade_matches_chunks(subject: Subject) -> Finding:
    """The impact index is sound and has one document for every chunk; where the channel is off, it has none."""
    root = subject[SpladeIndex.asset]
    meta = index_files.read_meta(root)
    if meta.encoder is None:
        left = (root / SpladeIndex.DIRECTORY).exists() or meta.documents or meta.files
        return finding(["the channel is off, and there are postings"] if left else [], state="off")
    found = index_files.open_postings(root, meta)
    problems = postings.check(found, meta.encoder.vocabulary)
    chunk_ids = np.sort(subject.chunk_ids)
    if not np.array_equal(found.ids, chunk_ids):
        problems.append(f"{len(found.ids)} documents are not the {len(chunk_ids)} chunks")
    return finding(problems, state="on", documents=meta.documents, postings=meta.postings)
