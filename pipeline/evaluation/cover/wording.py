"""What a definition is asked by: the first sentence of its documentation where that is a good query, else its name.

Belongs here: texts of queries. Not here: searching (`looking`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from pipeline.evaluation.cover.structure import DefinitionRows, Numbers
from pipeline.evaluation.synthesis.forms import SENTENCE, rendered
from pipeline.evaluation.synthesis.prose import normalised, sentence_of


def queries_of(definitions: DefinitionRows, rows: Numbers) -> list[tuple[str, bool]]:
    """For each of `rows` its query, and whether that is its name."""
    sentence_by_doc = {doc: sentence_of(doc) for doc in dict.fromkeys(definitions.docs) if doc}
    sentences = [sentence_by_doc.get(doc) for doc in definitions.docs]
    told = Counter(normalised(sentence) for sentence in sentences if sentence)
    names = _names(definitions, rows.tolist())
    found = []
    for row, name in zip(rows.tolist(), names, strict=True):
        sentence = sentences[row]
        # What several definitions say of themselves does not ask for one of them.
        own = sentence is not None and told[normalised(sentence)] == 1
        found.append((rendered(sentence, SENTENCE), False) if sentence is not None and own else (name, True))
    return found


def sentence_query(doc: str) -> str | None:
    """The query that documentation gives, where it gives one."""
    sentence = sentence_of(doc) if doc else None
    return None if sentence is None else rendered(sentence, SENTENCE)


def _names(definitions: DefinitionRows, rows: Sequence[int]) -> list[str]:
    """The name of each of `rows`, with as much of what it stands in as tells it from its namesakes, as far as that goes."""
    wanted = {definitions.names[row] for row in rows}
    namesakes: dict[str, Counter[str]] = defaultdict(Counter)
    for name, qualified in zip(definitions.names, definitions.qualified, strict=True):
        if name in wanted:
            namesakes[name][qualified] += 1
    endings = {name: _endings(found) for name, found in namesakes.items() if found.total() > 1}
    return [_shortest(definitions.names[row], definitions.qualified[row], endings) for row in rows]


def _endings(qualified: Counter[str]) -> Counter[str]:
    """How many definitions each ending of their names means."""
    found: Counter[str] = Counter()
    for name, times in qualified.items():
        parts = name.split(".")
        for start in range(len(parts)):
            found[".".join(parts[start:])] += times
    return found


def _shortest(name: str, qualified: str, endings: dict[str, Counter[str]]) -> str:
    if name not in endings or not qualified.endswith(f".{name}"):
        return name
    parts = qualified.removesuffix(f".{name}").split(".")
    spelt = name
    for owner in reversed(parts):
        spelt = f"{owner}.{spelt}"
        if endings[name][spelt] == 1:
            break
    # No owner tells more than the next one, where none tells it apart.
    return spelt if endings[name][spelt] == 1 else f"{parts[-1]}.{name}"
