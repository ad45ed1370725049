"""SCIP indexes that were exported as JSON, brought back into protobuf one document at a time.

Two dialects are in use: `scip print --json` writes snake_case names and numbers for enumerations, with the alternatives of a
range in an object of their own (`TypedRange`); protobuf's own mapping writes camelCase and names, and leaves zeros out.
Both are read, mixed or not.

Belongs here: names in JSON. Not here: the fields themselves (`proto`), what becomes of the payloads (`reader`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import IndexFormatError
from pipeline.structure.scip import proto
from pipeline.structure.scip.frames import LARGEST, Frame

_AT = re.compile(r"\(byte (\d+)\)")
_BOM = b"\xef\xbb\xbf"
_SECTIONS = {
    "metadata": (proto.METADATA, "Metadata"),
    "documents": (proto.DOCUMENTS, "Document"),
    "external_symbols": (proto.EXTERNAL_SYMBOLS, "SymbolInformation"),
}
_HINT = "Export the index again, or give it as protobuf."


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


_NAMES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    message: {spelt: (name, kind) for name, kind in fields.items() for spelt in (name, _camel(name))}
    for message, fields in proto.FIELDS.items()
}
"""Per message, what a name in JSON means: the field and its type."""
_SPELLINGS = {spelt: name for name in _SECTIONS for spelt in (name, _camel(name))}
_SCALARS = ("", "string", "bool")
_ALTERNATIVES = {
    "TypedRange": {"SingleLineRange": "single_line_range", "MultiLineRange": "multi_line_range"},
    "TypedEnclosingRange": {
        "SingleLineEnclosingRange": "single_line_enclosing_range",
        "MultiLineEnclosingRange": "multi_line_enclosing_range",
    },
}


def is_json(path: Path) -> bool:
    """Whether an index is JSON: by its suffix, or because it begins with `{`, which begins no protobuf index."""
    if path.suffix == ".json":
        return True
    try:
        with path.open("rb") as file:
            return file.read(4).removeprefix(_BOM).startswith(b"{")
    except OSError:
        return False


def frames(path: Path) -> Iterator[Frame]:
    """What `scip_frames.frames` gives, from JSON: metadata first, then documents and external symbols.

    The text of the file is held as a whole, its objects one document at a time. Raises IndexFormatError naming the byte offset.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IndexFormatError(
            f"The SCIP index {path} cannot be read: {error.strerror}.", hint="Give the path of a file."
        ) from None
    skipped = len(_BOM) if content.startswith(_BOM) else 0
    sections = _decode(memoryview(content)[skipped:], dict[str, msgspec.Raw], path, skipped)
    sections = {_SPELLINGS[name]: value for name, value in sections.items() if name in _SPELLINGS and not _is_null(value)}
    if not sections:
        raise IndexFormatError(f"{path} is not a SCIP index: the object at byte {skipped} has no documents.", hint=_HINT)
    for name, (field, message) in _SECTIONS.items():
        if name not in sections:
            continue
        section = sections[name]
        start = content.find(section)
        parts = [section] if name == "metadata" else _decode(section, list[msgspec.Raw], path, start)
        for part in parts:
            start = content.find(part, start)
            yield Frame(field, _payload(part, message, path, start), start)
            start += len(memoryview(part))


def _payload(part: msgspec.Raw, message: str, path: Path, start: int) -> bytes:
    """One object as the bytes of the protobuf message that it stands for; it begins at byte `start`."""
    if len(memoryview(part)) > LARGEST:
        text = f"The SCIP index {path} has more than {LARGEST} bytes in the object at byte {start}."
        raise IndexFormatError(text, hint="Exclude the file that it describes.")
    value = _decode(part, Any, path, start)
    try:
        payload: bytes = proto.message_class(message)(**_renamed(value, message)).SerializeToString()
    except (TypeError, ValueError, OverflowError) as error:
        text = f"The SCIP index {path} is damaged: the object at byte {start} is no {message} ({error})."
        raise IndexFormatError(text, hint=_HINT) from None
    return payload


def _decode(data: Any, kind: Any, path: Path, start: int) -> Any:
    """JSON at byte `start` of the file."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # The decoder counts from the beginning of what it was given.
        reason = _AT.sub(lambda match: f"(byte {start + int(match[1])})", str(error))
        text = f"The SCIP index {path} is no valid JSON in what begins at byte {start}: {reason}."
        raise IndexFormatError(text, hint=_HINT) from None


def _is_null(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:4]) == b"null"


def _renamed(value: Any, message: str) -> dict[str, Any]:
    """An object with the names, numbers and nesting of `message`; what the message does not have is left out."""
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    names = _NAMES[message]
    result: dict[str, Any] = {}
    for spelt, given in value.items():
        if given is None:
            continue
        known = names.get(spelt)
        if known is None:
            if message == "Occurrence" and spelt in _ALTERNATIVES:
                for alternative, field in _ALTERNATIVES[spelt].items():
                    if isinstance(given, dict) and given.get(alternative) is not None:
                        result[field] = _renamed(given[alternative], names[field][1])
            continue
        name, kind = known
        if kind in _SCALARS:
            result[name] = _number(name, given) if kind == "" and isinstance(given, str) else given
        elif kind.startswith("*"):
            if not isinstance(given, list):
                raise TypeError(f"`{spelt}` is not a list")
            inner = kind[1:]
            result[name] = given if inner in _SCALARS else [_renamed(item, inner) for item in given]
        else:
            result[name] = _renamed(given, kind)
    return result


def _number(field: str, name: str) -> int:
    """The number of an enumeration's name. A kind that is newer than the table here is no kind."""
    numbers = proto.ENUMS.get(field, {})
    if name not in numbers and field != "kind":
        raise ValueError(f"`{name}` is not known in `{field}`")
    return numbers.get(name, 0)
