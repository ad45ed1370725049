"""Whether an index is of the files at hand: what may not fit, where words begin, and how sources spell a name.

An index that was just made here is of these files, but every indexer has its errors. Of one from elsewhere nobody knows which
state of the files it was made from: a line added near the top of a file moves all that follows, and hits other words.

Belongs here: the rules. Not here: applying them to the documents of an index (`documents`).
"""

from __future__ import annotations

import re
import string

import numpy as np
from numpy.typing import NDArray

from pipeline.structure.scip.symbol_grammar import MODULE

MISFITS = 0.02
"""Share of a file's occurrences that may not fit, when the index was just made."""
UNSPELT = 0.5
"""Share of a file's definitions that may stand where their name does not, for tools that call things otherwise than the source
does: the getter `getX` of a property `x`."""
_SPELLING = frozenset({"ty-scip", "scip-python", "scip-typescript"})
"""Tools whose definitions stand where their names do."""
_ACCESSOR = re.compile(r"<[gs]et>")
_WORD = np.array([byte >= 0x80 or chr(byte) == "_" or chr(byte).isalnum() for byte in range(256)])
_SPACE = np.array([byte < 0x80 and chr(byte).isspace() for byte in range(256)])
"""By byte: what names are made of, and what none begins or ends with."""


def tolerances(tool: str, *, supplied: bool) -> tuple[float, float]:
    """The share of a file's occurrences that may begin or end inside of a word, and of its definitions that may not be spelt
    like their name. Of a supplied index none may."""
    misfits = 0.0 if supplied else MISFITS
    return misfits, misfits if tool in _SPELLING else UNSPELT


def inside_words(
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    low: NDArray[np.int64] | int,
    high: NDArray[np.int64] | int,
) -> NDArray[np.bool_]:
    """Which ranges of bytes [n], none of them empty, begin or end inside of a word or with a space, as no name does.

    `low` and `high` are where the file of each range begins and ends in `data`.
    """
    first, last = data[start], data[end - 1]
    before, after = data[np.maximum(start - 1, 0)], data[np.minimum(end, len(data) - 1)]
    cut = (_WORD[before] & _WORD[first] & (start > low)) | (_WORD[after] & _WORD[last] & (end < high))
    found: NDArray[np.bool_] = cut | _SPACE[first] | _SPACE[last]
    return found


def spelt(name: str, *, is_meta: bool, is_escaped: bool) -> str:
    """How the source spells the last name of a symbol; empty: that is not known.

    scip-typescript numbers the keys of object literals (`name0:`), and names accessors `<get>name`; other names that could be
    none in a source, such as `<constructor>`, may stand anywhere.
    """
    if is_escaped:
        name = _ACCESSOR.sub("", name, count=1)
        return name if name.isidentifier() else ""
    if is_meta:
        return "" if name == MODULE else name.rstrip(string.digits)
    return name
