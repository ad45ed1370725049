"""Ignore files: which paths the patterns of `.gitignore`, `.codeintelignore`, include and exclude lists match.

The semantics are those of gitignore(5): the last matching pattern of a file decides, deeper files decide before shallower ones,
and what lies in an ignored directory cannot be re-included. The walker asks from the top down and does not descend into what
is ignored, so a pattern is only ever matched against a path itself, never against its parents.

Belongs here: patterns and their precedence. Not here: finding and reading the files (`worktree`, `repository`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

GIT_FILE = ".gitignore"
OWN_FILE = ".codeintelignore"

_MAGIC = re.compile(r"[*?\[\\]")
_NEVER = re.compile(r"(?!)")
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


@dataclass(frozen=True, slots=True)
class _Rule:
    """One pattern. Without a slash it is matched against the file name, else against the path below the ignore file."""

    regex: str
    literal: str | None
    """The name or path itself, when there is nothing to expand."""
    suffix: str | None
    """What a `*suffix` ends in; most patterns in the wild are one of these two."""
    anchored: bool
    negated: bool
    directory: bool


@dataclass(frozen=True, slots=True)
class _Matcher:
    """Any of several patterns, for either file names or paths."""

    literals: frozenset[str]
    suffixes: tuple[str, ...]
    regex: re.Pattern[str]

    def matches(self, text: str) -> bool:
        return text in self.literals or text.endswith(self.suffixes) or self.regex.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive patterns of one polarity: their order among themselves does not matter."""

    negated: bool
    file_name: _Matcher
    file_path: _Matcher
    directory_name: _Matcher
    directory_path: _Matcher


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns of one ignore file or list."""

    runs: tuple[_Run, ...] = ()
    """The last ones first."""

    def verdict(self, path: str, name: str, directory: bool) -> bool | None:
        """True: ignored, False: re-included, None: no pattern matches. `path` is relative to the ignore file's folder."""
        for run in self.runs:
            if directory:
                hit = run.directory_name.matches(name) or run.directory_path.matches(path)
            else:
                hit = run.file_name.matches(name) or run.file_path.matches(path)
            if hit:
                return not run.negated
        return None


Levels = tuple[tuple[int, Patterns], ...]
"""Ignore files that apply in a folder, the shallowest first: (length of the folder's path with its slash, patterns)."""


def is_ignored(levels: Levels, path: str, name: str, directory: bool) -> bool:
    """Whether the deepest ignore file with an opinion on `path` (relative to the root of all levels) ignores it."""
    for start, patterns in reversed(levels):
        verdict = patterns.verdict(path[start:], name, directory)
        if verdict is not None:
            return verdict
    return False


def parse_file(content: bytes) -> Patterns:
    """The patterns of an ignore file. Lines that mean nothing are passed over, as git does; nothing raises."""
    return parse_lines(content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n"))


def parse_lines(lines: Iterable[str]) -> Patterns:
    """The patterns of lines in gitignore syntax."""
    rules = [rule for line in lines if (rule := _parse(line)) is not None]
    runs = [_run(negated, list(group)) for negated, group in groupby(rules, key=lambda rule: rule.negated)]
    return Patterns(tuple(reversed(runs)))


def _run(negated: bool, rules: list[_Rule]) -> _Run:
    def matcher(directory: bool, anchored: bool) -> _Matcher:
        chosen = [rule for rule in rules if rule.anchored is anchored and (directory or not rule.directory)]
        others = [rule.regex for rule in chosen if rule.literal is None and rule.suffix is None]
        return _Matcher(
            frozenset(rule.literal for rule in chosen if rule.literal is not None),
            tuple(rule.suffix for rule in chosen if rule.suffix is not None),
            re.compile("|".join(others), re.DOTALL) if others else _NEVER,
        )

    return _Run(negated, matcher(False, False), matcher(False, True), matcher(True, False), matcher(True, True))


def _parse(line: str) -> _Rule | None:
    """One line; None for a comment, a blank line, or a pattern that can match nothing."""
    line = _strip(line.removesuffix("\r"))
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    pattern = line[1:] if negated else line
    directory = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    anchored = "/" in pattern
    pattern = pattern.removeprefix("/")
    if not pattern:
        return None
    regex = _path_regex(pattern)
    if regex is None:
        return None
    literal = None if _MAGIC.search(pattern) else pattern
    tail = pattern[1:] if pattern.startswith("*") and not anchored else ""
    suffix = tail if tail and not _MAGIC.search(tail) else None
    return _Rule(regex, literal, suffix, anchored, negated, directory)


def _strip(line: str) -> str:
    """Without trailing blanks, but for one that a backslash protects."""
    bare = line.rstrip(" ")
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if len(bare) < len(line) and backslashes % 2 else bare


def _path_regex(pattern: str) -> str | None:
    """A path pattern as a regular expression, or None when it is malformed.

    Two or more `*` between slashes stand for any number of folders. What is between two such is best matched as early as
    possible, so those groups are atomic, and no pattern makes matching exponential.
    """
    groups: list[list[str]] = [[]]
    for part in pattern.split("/"):
        if len(part) > 1 and not part.strip("*"):
            if groups[-1] or len(groups) == 1:
                groups.append([])
            continue
        regex = _name_regex(part)
        if regex is None:
            return None
        groups[-1].append(regex)
    if len(groups) == 1:
        return "/".join(groups[0])
    first, *middle, last = groups
    start = "".join(part + "/" for part in first)
    between = "".join("(?>(?:[^/]+/)*?" + "".join(part + "/" for part in group) + ")" for group in middle)
    return start + between + ("(?:[^/]+/)*" + "/".join(last) if last else ".+")


def _name_regex(pattern: str) -> str | None:
    """One path component. As above, only the last `*` may have to try more than one length."""
    chunks: list[list[str]] = [[]]
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if chunks[-1] or len(chunks) == 1:
                chunks.append([])
        elif char == "?":
            chunks[-1].append("[^/]")
        elif char == "[":
            found = _bracket(pattern, at)
            if found is None:
                return None
            chunks[-1].append(found[0])
            at = found[1]
        elif char == "\\":
            if at == len(pattern):
                return None
            chunks[-1].append(re.escape(pattern[at]))
            at += 1
        else:
            chunks[-1].append(re.escape(char))
    first, *others = ("".join(chunk) for chunk in chunks)
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>[^/]*?{chunk})" for chunk in middle) + f"[^/]*{last}"


def _bracket(pattern: str, at: int) -> tuple[str, int] | None:
    """A bracket expression whose `[` is behind `at`: (regular expression of one character, where it ends)."""
    negated = pattern[at : at + 1] in ("!", "^") and at < len(pattern)
    at += negated
    start = at
    members: list[str] = []
    while at < len(pattern):
        char = pattern[at]
        if char == "]" and at > start:
            inside = "".join(members)
            if negated:
                return (f"(?!/)[^{inside}]" if inside else "[^/]"), at + 1
            return (f"(?!/)[{inside}]" if inside else "(?!)"), at + 1
        if pattern.startswith("[:", at) and (end := pattern.find(":]", at + 2)) > 0:
            known = _CLASSES.get(pattern[at + 2 : end])
            if known is None:
                return None
            members.append(known)
            at = end + 2
            continue
        low, at = _member(pattern, at)
        if pattern.startswith("-", at) and at + 1 < len(pattern) and pattern[at + 1] != "]":
            high, at = _member(pattern, at + 1)
            if low <= high:
                members.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            members.append(re.escape(low))
    return None


def _member(pattern: str, at: int) -> tuple[str, int]:
    """A character of a bracket expression, and where the next one is."""
    if pattern[at] == "\\" and at + 1 < len(pattern):
        return pattern[at + 1], at + 2
    return pattern[at], at + 1
