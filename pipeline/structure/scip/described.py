"""Names, signatures and kinds where an indexer has no field for them: scip-python and scip-typescript write them as prose.

Their first paragraph of documentation is a block of code, `class Shape` or `(method) area(): number`; the name is the end of
the symbol.

Belongs here: completing descriptions of symbols. Not here: decoding them (`reader`), the grammar of symbols
(`symbol_grammar`).
"""

from __future__ import annotations

import re
import string

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.structure.scip.symbol_grammar import MODULE, last_descriptor

_SORT = re.compile(r"^<[a-z]+>(?=.)")
_MODULE = f"/{MODULE}:"
_BLOCK = re.compile(r"\A```[a-z]*\n(.*?)\n?```\s*", re.DOTALL)
_WORDS = (
    r"(?:export |default |declare |abstract |async )*"
    r"(?:\((method|property|parameter|function|class|variable|module|constant|type parameter)\)"
    r"|(class|interface|enum|function|type|var|let|const|def|namespace|module|get|set|constructor)\b)"
)
_KIND = re.compile(_WORDS)
_KINDS = {
    "def": "function", "type": "type alias", "var": "variable", "let": "variable", "const": "constant", "get": "getter",
    "set": "setter",
}  # fmt: skip
_GUESSED = frozenset({"namespace", "type", "method", "term", "meta"})
"""What a kind is when only the end of the symbol says it."""


def name_of(symbol: str) -> str:
    """The name at the end of a global symbol, as people write it: `area` of `…/Shape#`<get>area`().`.

    A module of scip-python is a namespace with an `__init__`, and has its name. The properties of objects in TypeScript are
    numbered, `area0:`. Empty for what keeps to no grammar.
    """
    if symbol.endswith(_MODULE):
        symbol = symbol.removesuffix(_MODULE[1:])
    last = last_descriptor(symbol)
    if last is None:
        return ""
    name = _SORT.sub("", last.name)
    return name.rstrip(string.digits) or name if last.suffix == "meta" else name


def completed(symbols: pa.Table) -> pa.Table:
    """Descriptions (see `scip_reader.DocumentGroup`) with a display name, and with the signature that stands in the prose."""
    nameless = pc.equal(symbols["display_name"], "")
    if not pc.any(nameless).as_py():
        return symbols
    columns = {name: symbols[name].to_pylist() for name in ("symbol", "display_name", "kind", "signature", "documentation")}
    for row, (symbol, name) in enumerate(zip(columns["symbol"], columns["display_name"], strict=True)):
        if name:
            continue
        columns["display_name"][row] = name_of(symbol)
        text = columns["documentation"][row]
        block = None if columns["signature"][row] else _BLOCK.match(text)
        if block is None:
            continue
        columns["signature"][row] = block[1]
        columns["documentation"][row] = text[block.end() :]
        if columns["kind"][row] in _GUESSED:
            columns["kind"][row] = _kind_of(block[1], symbol) or columns["kind"][row]
    for name, values in columns.items():
        symbols = symbols.set_column(symbols.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return symbols


def _kind_of(signature: str, symbol: str) -> str:
    """The kind that a signature begins with, after decorators; empty when it says none."""
    lines = (line.strip() for line in signature.splitlines())
    match = _KIND.match(next((line for line in lines if not line.startswith("@")), ""))
    if match is None:
        return ""
    word = match[1] or match[2]
    if word == "def" and "#" in symbol.rsplit("/", 1)[-1]:
        return "method"
    return _KINDS.get(word, word)
