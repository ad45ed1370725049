"""Node and definition tables for tests of chunks, straight from the parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tree_sitter_language_pack import get_parser

from pipeline.chunks.cast import SyntaxNodes, is_leading
from pipeline.schemas import AstNodes, Definitions, Sources
from pipeline.source.languages import language_of
from pipeline.stage import Artefact
from pipeline.tables import part_of, write_part

DEFINITION_TYPES = {
    "function_definition": "function",
    "class_definition": "class",
    "function_declaration": "function",
    "class_declaration": "class",
    "method_declaration": "method",
    "method_definition": "method",
    "function_item": "function",
    "struct_item": "class",
    "impl_item": "class",
}


@dataclass
class Parsed:
    """One file as the tables will have it."""

    content: bytes
    nodes: SyntaxNodes
    node_rows: list[dict[str, Any]]
    definitions: list[dict[str, Any]]

    @property
    def starts(self) -> np.ndarray:
        return np.array([row["start_byte"] for row in self.definitions], np.int32)

    @property
    def ends(self) -> np.ndarray:
        return np.array([row["end_byte"] for row in self.definitions], np.int32)


def parse_file(content: bytes, lang: str, uri: str = "file") -> Parsed:
    """Parse and walk in pre-order; definitions are nodes of a few well-known types."""
    cursor = get_parser(lang).parse(content).walk()
    rows: list[dict[str, Any]] = []
    definitions: list[dict[str, Any]] = []
    parents: list[int] = [-1]
    scopes: list[tuple[int, str]] = []
    moving = True
    while moving:
        node = cursor.node
        assert node is not None
        number, depth = len(rows), cursor.depth
        rows.append(
            {
                "uri": uri,
                "node_id": number,
                "parent_id": parents[depth],
                "type": node.type,
                "field": None,
                "start_byte": node.start_byte,
                "end_byte": node.end_byte,
                "depth": depth,
                "named": node.is_named,
            }
        )
        name = node.child_by_field_name("name") if node.type in DEFINITION_TYPES else None
        scopes = [scope for scope in scopes if scope[0] > node.start_byte]
        if name is not None and name.text:
            text = name.text.decode("utf-8", "replace")
            qualified = ".".join([*(scope[1] for scope in scopes), text])
            definitions.append(
                {
                    "uri": uri,
                    "name": text,
                    "qualified_name": qualified,
                    "kind": DEFINITION_TYPES[node.type],
                    "signature": "",
                    "doc": "",
                    "start_byte": node.start_byte,
                    "end_byte": node.end_byte,
                    "start_line": node.start_point[0] + 1,
                    "end_line": node.end_point[0] + 1,
                    "name_start_byte": name.start_byte,
                    "node_id": number,
                    "parent": None,
                }
            )
            scopes.append((node.end_byte, text))
        del parents[depth + 1 :]
        parents.append(number)
        moving = cursor.goto_first_child()
        while not moving and not (moving := cursor.goto_next_sibling()):
            if not cursor.goto_parent():
                break
    nodes = SyntaxNodes(
        np.array([row["start_byte"] for row in rows], np.int32),
        np.array([row["end_byte"] for row in rows], np.int32),
        np.array([min(row["depth"], 30_000) for row in rows], np.int16),
        np.array([row["named"] for row in rows], np.bool_),
        np.array([is_leading(row["type"]) for row in rows], np.bool_),
    )
    return Parsed(content, nodes, rows, definitions)


def write_world(root: Path, files: Mapping[str, bytes], parts: int = 1) -> tuple[Any, Any, Any]:
    """The three inputs of the stage, written as their stages would."""
    sources: list[list[dict[str, Any]]] = [[] for _ in range(parts)]
    nodes: list[list[dict[str, Any]]] = [[] for _ in range(parts)]
    definitions: list[list[dict[str, Any]]] = [[] for _ in range(parts)]
    for uri in sorted(files):
        language = language_of(uri, files[uri])
        part = part_of(uri, parts)
        sources[part].append({"uri": uri, "lang": language.name, "content": files[uri]})
        if language.grammar and files[uri]:
            parsed = parse_file(files[uri], language.grammar, uri)
            nodes[part] += parsed.node_rows
            definitions[part] += parsed.definitions
    artefacts = []
    for kind, rows in ((Sources, sources), (AstNodes, nodes), (Definitions, definitions)):
        for part in range(parts):
            plain = pa.schema(
                [
                    pa.field(each.name, each.type.value_type if pa.types.is_dictionary(each.type) else each.type, each.nullable)
                    for each in kind.schema
                ]
            )
            write_part(root / kind.asset / kind.name, kind, part, pa.Table.from_pylist(rows[part], schema=plain))
        artefacts.append(Artefact("repo", kind.asset, "key", root / kind.asset, kind.tag(), "digest", {}))
    return artefacts[0], artefacts[1], artefacts[2]


@pytest.fixture(scope="session")
def parse() -> Callable[..., Parsed]:
    return parse_file


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., tuple[Any, Any, Any]]:
    return lambda files, parts=1: write_world(tmp_path / "inputs", files, parts)
