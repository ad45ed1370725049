"""Concrete syntax of one Python file by libcst: the nodes worth having, not every token.

One pass of libcst's own code generation gives order, parents and spans together; it counts tokens, which become characters and
then bytes of the file as stored, so that no position is guessed. What generation gives back must be the file.

The vocabulary of `kind`, with the roles that each may have in brackets:

    module
    expr assign ann_assign aug_assign return raise assert del pass break continue global nonlocal type_alias
    import [lazy]   from_import [star, lazy]   import_alias
    if elif else while for [async] with [async] try [star] except [star] finally match case
    class   function [async]   lambda   return_annotation
    parameter [posonly, positional, vararg, kwonly, kwarg]
    decorator call [the callee, where it is a dotted name]
    comment [leading, trailing, inner (inside brackets), closing (at the end of a block or the module)]

A node's parent is the innermost node of these around it. A comment belongs to the statement, clause or block that it leads,
trails or closes, and so may lie outside the span of its parent; every other node lies inside. Definitions begin at their first
decorator.

Belongs here: rows from one tree, and which files are refused. Not here: what names mean (`names`), tables (`reading`).
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import libcst as cst
import numpy as np
from libcst._nodes.internal import CodegenState
from numpy.typing import NDArray

from pipeline.source.text import decode
from pipeline.structure.cst.names import Names, dotted, imported, module_of
from pipeline.structure.syntax import parse, walk

MAX_DEPTH = 500
"""Levels of the syntax tree beyond which a file is refused: libcst takes time by their square, and stack."""
MAX_NODES = 300_000
"""Syntax nodes beyond which a file is refused: a file of that many statements took libcst 2.5 GB and 36 s. Django has 200,000 a
megabyte."""
MAX_BRACKETS = 200
"""Open brackets beyond which a file with syntax errors is refused; Python itself takes no more."""

_STRUCTURE = ""
_KINDS: dict[type[cst.CSTNode], str] = {
    cst.Module: "module", cst.Expr: "expr", cst.Assign: "assign", cst.AnnAssign: "ann_assign", cst.AugAssign: "aug_assign",
    cst.Return: "return", cst.Raise: "raise", cst.Assert: "assert", cst.Del: "del", cst.Pass: "pass", cst.Break: "break",
    cst.Continue: "continue", cst.Global: "global", cst.Nonlocal: "nonlocal", cst.TypeAlias: "type_alias",
    cst.Import: "import", cst.ImportFrom: "from_import", cst.ImportAlias: "import_alias", cst.LazyImport: "import",
    cst.LazyImportFrom: "from_import", cst.If: "if", cst.Else: "else", cst.While: "while", cst.For: "for", cst.With: "with",
    cst.Try: "try", cst.TryStar: "try", cst.ExceptHandler: "except", cst.ExceptStarHandler: "except", cst.Finally: "finally",
    cst.Match: "match", cst.MatchCase: "case", cst.ClassDef: "class", cst.FunctionDef: "function", cst.Lambda: "lambda",
    cst.Annotation: "return_annotation", cst.Param: "parameter", cst.Decorator: "decorator", cst.Call: "call",
    cst.Comment: "comment",
}  # fmt: skip
_CONTAINERS = (
    cst.SimpleStatementLine, cst.SimpleStatementSuite, cst.IndentedBlock, cst.EmptyLine, cst.TrailingWhitespace,
    cst.ParenthesizedWhitespace,
)  # fmt: skip
_TRACKED: dict[type[cst.CSTNode], str] = _KINDS | dict.fromkeys(_CONTAINERS, _STRUCTURE)
_LINES = (cst.SimpleStatementLine, cst.SimpleStatementSuite)
_UNMARKED: AbstractContextManager[None] = nullcontext()


class RejectedError(Exception):
    """A file of which there is no concrete syntax; the message is one line that says why."""


@dataclass(frozen=True, slots=True)
class CstRows:
    """The nodes of one file in pre-order; a node's id is its row. Arrays and lists of one length."""

    parent: NDArray[np.int32]
    """Row of the parent, -1 for the module."""
    kind: list[str]
    role: list[str | None]
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    text_hash: NDArray[np.uint64]
    """blake2b-64, little-endian, of the node's bytes."""
    qualified_name: list[str | None]
    """Definitions: within the module, as in `Class.method.<locals>.inner`; calls and decorators: what their callee is bound to;
    import aliases and from-imports: what they import. Of several candidates the first in the order of the alphabet."""

    def __len__(self) -> int:
        return len(self.kind)


def read(content: bytes) -> CstRows:
    """The nodes of a Python file, spans in bytes of `content`.

    Raises `RejectedError` for bytes that are no text, for what libcst cannot parse, and for what is too large or nested too
    deep. Nesting within the bound needs a recursion limit of 20,000 and a stack to match, which `reading` provides.
    """
    text = decode(content, "python")
    if text is None:
        raise RejectedError("it cannot be decoded")
    _refuse_excess(content)
    try:
        recorder, names = _record(text.removeprefix("\ufeff"))
    except (RejectedError, MemoryError):
        raise  # What the machine lacks is not the file's fault, and must not be remembered as such.
    except cst.ParserSyntaxError as error:
        raise RejectedError(f"syntax error at line {error.raw_line}") from None
    except RecursionError:
        raise RejectedError("it is nested too deep") from None
    except BaseException as error:
        # A panic of the native parser is a BaseException of its own.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise RejectedError(f"libcst fails with {type(error).__name__}") from None
        raise
    return _rows(content, text, recorder, names)


def _refuse_excess(content: bytes) -> None:
    """Look at size and nesting with a parser whose cost is linear and whose stack is not the process's."""
    tree = parse(content, "python")
    if tree is None:
        raise RejectedError("it takes too much work to parse")
    depth = walk(tree).depth
    if int(depth.max()) > MAX_DEPTH:
        raise RejectedError("it is nested too deep")
    if len(depth) > MAX_NODES:
        raise RejectedError(f"it has more than {MAX_NODES:,} syntax nodes")
    if tree.root_node.has_error:
        data = np.frombuffer(content, np.uint8)
        steps = np.isin(data, list(b"([{")).astype(np.int32) - np.isin(data, list(b")]}"))
        if len(steps) and int(np.cumsum(steps).max()) > MAX_BRACKETS:
            raise RejectedError("it has syntax errors and is nested too deep")


def _record(text: str) -> tuple[_Recorder, list[str | None]]:
    module = cst.parse_module(text)
    recorder = _Recorder(module)
    module._codegen(recorder)
    if "".join(recorder.tokens) != text:
        raise RejectedError("libcst does not give back its text")
    names = Names(module)
    return recorder, [_NAMED[type(node)](names, node) if type(node) in _NAMED else None for node in recorder.nodes]


def _callee(names: Names, node: Any) -> str | None:
    called = node.decorator if isinstance(node, cst.Decorator) else node
    name = dotted(called.func if isinstance(called, cst.Call) else called)
    return names.bound(node, name) if name else None


_NAMED: dict[type[cst.CSTNode], Callable[[Names, Any], str | None]] = {
    cst.FunctionDef: Names.defined,
    cst.ClassDef: Names.defined,
    cst.Call: _callee,
    cst.Decorator: _callee,
    cst.ImportFrom: lambda _, node: module_of(node),
    cst.LazyImportFrom: lambda _, node: module_of(node),
}


def _rows(content: bytes, text: str, recorder: _Recorder, names: list[str | None]) -> CstRows:
    """Tokens to characters to bytes."""
    tokens = np.concatenate([[0], np.cumsum(np.fromiter(map(len, recorder.tokens), np.int64, len(recorder.tokens)))])
    # The newline that a file lacks at its end was taken back, so the last positions may lie behind it.
    spans = np.minimum(np.array([recorder.starts, recorder.ends], np.int64), len(tokens) - 1)
    offsets = _byte_offsets(content, text)
    start, end = offsets[tokens[spans] + text.startswith("\ufeff")]
    view = memoryview(content)
    hashes = b"".join(
        blake2b(view[first:last], digest_size=8).digest() for first, last in zip(start.tolist(), end.tolist(), strict=True)
    )
    for row, name in recorder.imports.items():
        names[row] = name
    return CstRows(
        parent=np.array(recorder.parents, np.int32),
        kind=recorder.kinds,
        role=recorder.roles,
        start=start.astype(np.int32),
        end=end.astype(np.int32),
        text_hash=np.frombuffer(hashes, "<u8").astype(np.uint64, copy=False),
        qualified_name=names,
    )


def _byte_offsets(content: bytes, text: str) -> NDArray[np.int64]:
    """The byte at which each character begins, int64 [characters + 1]. Raises `RejectedError` where that cannot be told."""
    if len(text) == len(content):
        return np.arange(len(text) + 1, dtype=np.int64)
    if text.encode("utf-8") == content:
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        lengths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    else:
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
            pieces = [character.encode(encoding) for character in text]
        except (SyntaxError, UnicodeError, LookupError):
            pieces = []
        if b"".join(pieces) != content:
            raise RejectedError("its encoding does not say where characters begin")
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


class _Recorder(CodegenState):
    """Notes the nodes worth having while libcst writes the module out. Positions are numbers of tokens."""

    def __init__(self, module: cst.Module) -> None:
        super().__init__(default_indent=module.default_indent, default_newline=module.default_newline)
        # Nothing happens per token but this; libcst calls it by the instance.
        self.add_token = self.tokens.append  # type: ignore[assignment, method-assign]
        self.nodes: list[cst.CSTNode] = []
        self.parents: list[int] = []
        self.kinds: list[str] = []
        self.roles: list[str | None] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.imports: dict[int, str | None] = {}
        self._around: list[cst.CSTNode] = []
        """The tracked nodes that are being written, outermost first."""
        self._open: list[int] = [-1]
        """Rows of those that have one."""
        self._spans: dict[cst.CSTNode, tuple[int, int]] = {}
        self._last_parts: dict[cst.CSTNode, cst.CSTNode] = {}
        """The part of a parameter that ends it -> the parameter."""
        self._parameter_ends: dict[cst.CSTNode, int] = {}
        self._waiting: list[tuple[cst.CSTNode, int]] = []
        """Comments that lead a line of simple statements, whose first statement is still to come."""
        self._last_simple = -1
        self._footer = frozenset(module.footer)

    def before_codegen(self, node: cst.CSTNode) -> None:
        kind = _TRACKED.get(type(node))
        if kind is None:
            return
        around = self._around
        around.append(node)
        if kind == _STRUCTURE:
            return
        if kind == "comment":
            self._comment(node)
            return
        above = around[-2] if len(around) > 1 else None
        if kind == "return_annotation" and not (isinstance(above, cst.FunctionDef) and above.returns is node):
            return
        if kind == "if" and isinstance(above, cst.If) and above.orelse is node:
            kind = "elif"
        row = self._add(node, kind, self._role(node, above), len(self.tokens))
        self._open.append(row)
        if self._waiting and isinstance(above, _LINES):
            for comment, place in self._waiting:
                self._add(comment, "comment", "leading", place)
            self._waiting.clear()

    def after_codegen(self, node: cst.CSTNode) -> None:
        if self._last_parts and node in self._last_parts:
            self._parameter_ends[self._last_parts.pop(node)] = len(self.tokens)
        if type(node) not in _TRACKED:
            return
        self._around.pop()
        row = self._open[-1]
        if row < 0 or self.nodes[row] is not node:
            self._spans.setdefault(node, (0, len(self.tokens)))
            return
        self._open.pop()
        start, end = self._spans.setdefault(node, (self.starts[row], len(self.tokens)))
        if isinstance(node, cst.FunctionDef | cst.ClassDef) and node.decorators:
            start, _ = self._spans[node.decorators[0]]
        elif isinstance(node, cst.BaseSmallStatement):
            self._last_simple = row
        self.starts[row], self.ends[row] = start, self._parameter_ends.pop(node, end)

    def record_syntactic_position(
        self, node: cst.CSTNode, *, start_node: cst.CSTNode | None = None, end_node: cst.CSTNode | None = None
    ) -> Any:
        """Called by libcst around the part of a node without its white space and parentheses."""
        return _Mark(self, node, end_node) if type(node) in _TRACKED else _UNMARKED

    def mark(self, node: cst.CSTNode, start: int, end_node: cst.CSTNode | None) -> None:
        """The span of a node, which ends with `end_node`, or here."""
        _, end = self._spans.get(end_node, (0, len(self.tokens))) if end_node is not None else (0, len(self.tokens))
        self._spans[node] = (start, end)

    def _add(self, node: cst.CSTNode, kind: str, role: str | None, start: int, parent: int | None = None) -> int:
        self.nodes.append(node)
        self.kinds.append(kind)
        self.roles.append(role)
        self.parents.append(self._open[-1] if parent is None else parent)
        self.starts.append(start)
        self.ends.append(start + 1)
        return len(self.nodes) - 1

    def _comment(self, node: cst.CSTNode) -> None:
        """A comment is one token; what holds its line says whose it is."""
        line, holder = self._around[-2], self._around[-3]
        place = len(self.tokens)
        if isinstance(holder, cst.ParenthesizedWhitespace):
            self._add(node, "comment", "inner", place)
        elif isinstance(line, cst.TrailingWhitespace):
            parent = self._last_simple if isinstance(holder, _LINES) else None
            self._add(node, "comment", "trailing", place, parent)
        elif isinstance(holder, cst.SimpleStatementLine):
            self._waiting.append((node, place))
        elif isinstance(holder, cst.IndentedBlock) or line in self._footer:
            self._add(node, "comment", "closing", place)
        else:
            self._add(node, "comment", "leading", place)

    def _role(self, node: cst.CSTNode, above: cst.CSTNode | None) -> str | None:
        match node:
            case cst.Call():
                return dotted(node.func)
            case cst.Param():
                part = node.default if node.default is not None else node.annotation
                if part is not None:
                    self._last_parts[part] = node
                return _parameter_role(node, above)
            case cst.ImportAlias():
                self.imports[len(self.nodes)] = imported(node, above)
            case cst.FunctionDef() | cst.For() | cst.With():
                return "async" if node.asynchronous is not None else None
            case cst.TryStar() | cst.ExceptStarHandler():
                return "star"
            case cst.ImportFrom() if isinstance(node.names, cst.ImportStar):
                return "star"
            case cst.LazyImport() | cst.LazyImportFrom():
                return "lazy"
        return None


class _Mark:
    """The block in which libcst writes a node without its white space."""

    __slots__ = ("end_node", "node", "recorder", "start")

    def __init__(self, recorder: _Recorder, node: cst.CSTNode, end_node: cst.CSTNode | None) -> None:
        self.recorder, self.node, self.end_node = recorder, node, end_node

    def __enter__(self) -> None:
        self.start = len(self.recorder.tokens)

    def __exit__(self, *_: object) -> None:
        self.recorder.mark(self.node, self.start, self.end_node)


def _parameter_role(node: cst.Param, above: cst.CSTNode | None) -> str | None:
    if not isinstance(above, cst.FunctionDef | cst.Lambda):
        return None
    parameters = above.params
    if node is parameters.star_arg:
        return "vararg"
    if node is parameters.star_kwarg:
        return "kwarg"
    for role, group in (("positional", parameters.params), ("kwonly", parameters.kwonly_params)):
        if any(node is other for other in group):
            return role
    return "posonly"
