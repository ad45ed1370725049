"""The messages of SCIP (`scip.proto` of github.com/scip-code/scip), as far as they are read.

The descriptor is built from one table of fields, so that no generated code is needed; what the table leaves out (texts of
documents, syntax kinds, diagnostics) is skipped by the decoder.

Belongs here: field numbers, message types and enumerations. Not here: framing, columns, JSON.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

METADATA, DOCUMENTS, EXTERNAL_SYMBOLS = 1, 2, 3
"""Fields of `Index`, whose top level is split by hand."""

_RANGE = "line:1 start_character:2 end_character:3"
_RANGES = "start_line:1 start_character:2 end_line:3 end_character:4"
_MESSAGES = {
    "Index": "metadata:1:Metadata documents:2:*Document external_symbols:3:*SymbolInformation",
    "Metadata": "version:1 tool_info:2:ToolInfo project_root:3:string",
    "ToolInfo": "name:1:string version:2:string",
    "Document": "relative_path:1:string occurrences:2:*Occurrence symbols:3:*SymbolInformation position_encoding:6",
    "DocumentPath": "relative_path:1:string",
    "Occurrence": (
        "range:1:* symbol:2:string symbol_roles:3 enclosing_range:7:* single_line_range:8:SingleLineRange "
        "multi_line_range:9:MultiLineRange single_line_enclosing_range:10:SingleLineRange "
        "multi_line_enclosing_range:11:MultiLineRange"
    ),
    "SingleLineRange": _RANGE,
    "MultiLineRange": _RANGES,
    "SymbolInformation": (
        "symbol:1:string documentation:3:*string relationships:4:*Relationship kind:5 display_name:6:string "
        "signature_documentation:7:Signature"
    ),
    "Signature": "text:5:string",
    "Relationship": (
        "symbol:1:string is_reference:2:bool is_implementation:3:bool is_type_definition:4:bool is_definition:5:bool"
    ),
}
"""`DocumentPath` is a document of which nothing else is read.

Per message `name:number:type`, `*` before what is repeated; without a type it is an int32, as are enumerations."""

FIELDS: Mapping[str, Mapping[str, str]] = {
    message: {name: kind for name, _, kind in (f"{field}:".split(":")[:3] for field in fields.split())}
    for message, fields in _MESSAGES.items()
}
"""Types of the fields by name, per message."""

_KINDS = """Array Assertion AssociatedType Attribute Axiom Boolean Class Constant Constructor DataFamily Enum EnumMember Event
Fact Field File Function Getter Grammar Instance Interface Key Lang Lemma Macro Method MethodReceiver Message Module Namespace
Null Number Object Operator Package PackageObject Parameter ParameterLabel Pattern Predicate Property Protocol Quasiquoter
SelfParameter Setter Signature Subscript String Struct Tactic Theorem ThisParameter Trait Type TypeAlias TypeClass TypeFamily
TypeParameter Union Value Variable Contract Error Library Modifier AbstractMethod MethodSpecification ProtocolMethod
PureVirtualMethod TraitMethod TypeClassMethod Accessor Delegate MethodAlias SingletonClass SingletonMethod StaticDataMember
StaticEvent StaticField StaticMethod StaticProperty StaticVariable - Extension Mixin Concept""".split()
"""`SymbolInformation.Kind` from 1 on; 83 is not in use."""

ENUMS: Mapping[str, Mapping[str, int]] = {
    "kind": {"UnspecifiedKind": 0} | {name: number for number, name in enumerate(_KINDS, 1) if name != "-"},
    "position_encoding": {
        "UnspecifiedPositionEncoding": 0,
        "UTF8CodeUnitOffsetFromLineStart": 1,
        "UTF16CodeUnitOffsetFromLineStart": 2,
        "UTF32CodeUnitOffsetFromLineStart": 3,
    },
    "version": {"UnspecifiedProtocolVersion": 0},
    "symbol_roles": {},
}
"""Numbers of the names that JSON gives instead, per field."""

KIND_WORDS = ("", *(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().strip("-") for name in _KINDS))
"""Kinds as lower-case words, by number: `abstract method`. Empty: not said."""


@functools.cache
def descriptor() -> Any:
    """The file descriptor of these messages."""
    # Where no index is read, nothing of protobuf is loaded.
    from google.protobuf import descriptor_pb2, descriptor_pool  # type: ignore[import-untyped]

    kinds = descriptor_pb2.FieldDescriptorProto
    scalar = {"": kinds.TYPE_INT32, "string": kinds.TYPE_STRING, "bool": kinds.TYPE_BOOL}
    file = descriptor_pb2.FileDescriptorProto(name="codeintel/scip.proto", package="codeintel.scip", syntax="proto3")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field in fields.split():
            name, number, kind = f"{field}:".split(":")[:3]
            label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.lstrip("*")
            added = described.field.add(name=name, number=int(number), label=label, type=scalar.get(kind, kinds.TYPE_MESSAGE))
            if kind not in scalar:
                added.type_name = f".codeintel.scip.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindFileByName(file.name)


def message_class(name: str) -> Any:
    """The class of a message by its name in the table above."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(descriptor().message_types_by_name[name])
