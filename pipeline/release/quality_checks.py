"""What must hold of an evaluation, however good the index is: channels answer, and vectors are those of the chunks.

Belongs here: invariants of `eval_metrics`. Not here: which quality is good enough, which people may decide (`quality_gate`).
"""

from __future__ import annotations

from pipeline.evaluation.document import read_metrics
from pipeline.release.findings import Finding, Subject, finding
from pipeline.schemas import EvalMetrics

LEAST_AGREEMENT = 0.99
"""A cosine that vectors of one text have on any machine and in any batch, and vectors of two texts hardly ever."""


def channels_answer(subject: Subject) -> Finding:
    """No channel that should have answered the test queries was broken."""
    metrics = read_metrics(subject[EvalMetrics.asset])
    problems = [f"the channel `{name}` cannot answer: {reason}" for name, reason in sorted(metrics.broken.items())]
    return finding(problems, state=metrics.state, queries=metrics.queries, channels=len(metrics.channels))


def vectors_of_embedder(subject: Subject) -> Finding:
    """Sampled chunks, embedded once more, have the vectors that are stored under their ids."""
    agreement = read_metrics(subject[EvalMetrics.asset]).agreement
    if agreement is None or not agreement.sample:
        return finding([], sample=0)
    problems = []
    if agreement.least < LEAST_AGREEMENT:
        problems.append(
            f"stored vectors are not those that the manifest's embedder makes of their chunks: of {agreement.sample} made "
            f"once more, one has the cosine {agreement.least:.3f} with the stored one, and not {LEAST_AGREEMENT:g}; ids are "
            f"mixed up, or the vectors are another model's"
        )
    return finding(problems, sample=agreement.sample, least=agreement.least)
