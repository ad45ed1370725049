"""What names in a Python file are bound to, by libcst's scopes.

libcst's `QualifiedNameProvider` goes over the tree once more to offer a name for every node; here the scopes are asked for the
few nodes that want one, each name once a scope, and the answers are the same.

Belongs here: names. Not here: which nodes want one (`cst`).
"""

from __future__ import annotations

from typing import Any

import libcst as cst
from libcst.metadata import ExpressionContext, ExpressionContextProvider, QualifiedName, ScopeProvider
from libcst.metadata.scope_provider import Scope, ScopeVisitor


def dotted(node: cst.CSTNode) -> str | None:
    """`a.b.c` for plain names joined by dots, None for any other expression."""
    parts: list[str] = []
    while isinstance(node, cst.Attribute):
        parts.append(node.attr.value)
        node = node.value
    if not isinstance(node, cst.Name):
        return None
    return ".".join([node.value, *reversed(parts)])


def module_of(node: cst.ImportFrom | cst.LazyImportFrom) -> str:
    """The module that a from-import names, with the dots of a relative one."""
    module = dotted(node.module) if node.module is not None else None
    return "." * len(node.relative) + (module or "")


def imported(alias: cst.ImportAlias, statement: cst.CSTNode | None) -> str | None:
    """What an alias stands for: `m.n` for `from m import n`, `.n` for `from . import n`."""
    name = dotted(alias.name)
    if name is None or not isinstance(statement, cst.ImportFrom | cst.LazyImportFrom):
        return name
    module = module_of(statement)
    return f"{module}{name}" if module.endswith(".") else f"{module}.{name}"


class _Contexts(ExpressionContextProvider):
    """Whether each name is read, written or deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[cst.CSTNode, Any] = {}

    def set_metadata(self, node: cst.CSTNode, value: Any) -> None:
        self.found[node] = value


class _Bindings(ScopeVisitor):
    """libcst's visitor of scopes without what it does about uses of names: nobody here asks where a name is used, and to relate
    each use to all bindings of its name takes a time that grows with the product of both. So strings that are type hints are
    not read either, nor is it asked which calls and subscripts have such."""

    def visit_Name(self, node: cst.Name) -> bool:  # noqa: N802 - as libcst calls it, here and below
        if self.provider.get_metadata(ExpressionContextProvider, node, None) is ExpressionContext.STORE:
            self.scope.record_assignment(node.value, node)
        return True

    def visit_Call(self, node: cst.Call) -> bool:  # noqa: N802
        return True

    def leave_Call(self, original_node: cst.Call) -> None:  # noqa: N802
        pass

    def visit_Subscript(self, node: cst.Subscript) -> bool:  # noqa: N802
        return True

    def leave_Subscript(self, original_node: cst.Subscript) -> None:  # noqa: N802
        pass

    def visit_SimpleString(self, node: cst.SimpleString) -> bool:  # noqa: N802
        return False

    def visit_ConcatenatedString(self, node: cst.ConcatenatedString) -> bool:  # noqa: N802
        return True


class _Scopes(ScopeProvider):
    """The scope of each node."""

    def __init__(self, contexts: dict[cst.CSTNode, Any]) -> None:
        super().__init__()
        self.metadata = {ExpressionContextProvider: contexts}
        self.found: dict[cst.CSTNode, Scope | None] = {}

    def visit_Module(self, node: cst.Module) -> None:  # noqa: N802
        node.visit(_Bindings(self))

    def set_metadata(self, node: cst.CSTNode, value: Any) -> None:
        self.found[node] = value


class Names:
    """The bindings of one module."""

    def __init__(self, module: cst.Module) -> None:
        # Called directly: as metadata of a wrapper, each provider would go over the tree a second time, doing nothing.
        contexts = _Contexts()
        contexts.visit_Module(module)
        scopes = _Scopes(contexts.found)
        scopes.visit_Module(module)
        self._scopes = scopes.found
        self._known: dict[tuple[Scope, str], str | None] = {}

    def defined(self, node: cst.FunctionDef | cst.ClassDef) -> str | None:
        """The qualified name of a definition."""
        # By its name, once a scope: a thousand definitions of one name have a thousand bindings each.
        return self.bound(node, node.name.value)

    def bound(self, node: cst.CSTNode, name: str) -> str | None:
        """What a dotted name means where `node` stands."""
        scope = self._scopes.get(node)
        if scope is None:
            return None
        key = (scope, name)
        if key not in self._known:
            self._known[key] = _first(scope.get_qualified_names_for(name))
        return self._known[key]


def _first(names: Any) -> str | None:
    found: set[QualifiedName] = set(names)
    return min((name.name for name in found), default=None)
