"""Completing a word of an `indexctl` command line, without loading the commands.

A shell asks at every TAB, so this imports little: commands and options come from `commands.json`, which is made of the commands
themselves (`described`), and what is in the store is read from the names of folders.

Belongs here: from words to candidates. Not here: the shells' scripts (`commands_completion`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

VARIABLE = "_INDEXCTL_COMPLETE"
"""Names the shell that asks; the arguments are the words after the command, the one at the cursor last."""
TABLE = os.path.join(os.path.dirname(__file__), "commands.json")  # noqa: PTH118,PTH120 - pathlib costs a tenth of a TAB

Candidates = tuple[str, list[str]]
"""`values`, `files` or `folders`; and the values, with a tab and a description behind some."""


def main(shell: str, words: Sequence[str]) -> None:
    """Print what may stand at the cursor. Says nothing and ends well whatever the store looks like."""
    with contextlib.suppress(OSError, ValueError):
        what, values = complete(_joined(words) if shell == "bash" else words, os.environ, whole=shell != "bash")
        if shell == "bash":
            names = [value.partition("\t")[0] for value in values]
            # Bash adds no space of its own behind a value that ends in `=`, and puts one behind the rest.
            values = [name.rsplit("=", 1)[-1] if name.startswith("--") and "=" in name else name for name in names]
        sys.stdout.write("\n".join([what, *values]) + "\n")


def complete(words: Sequence[str], environment: Mapping[str, str], *, whole: bool = True) -> Candidates:
    """What may stand at the last word. With `whole`, values of `--option=` come with the option in front."""
    with open(TABLE, encoding="utf-8") as file:  # noqa: PTH123
        table = json.load(file)
    *before, current = words or ("",)
    command, places, given, pending = _walk(table, before)
    if pending is not None:
        return _named(pending["takes"], pending.get("choices", ()), current, given, table, environment)
    options = {name: option for option in command["options"] for name in option["names"]}
    name, equals, start = current.partition("=")
    if equals and name in options and options[name]["takes"]:
        what, values = _named(options[name]["takes"], options[name].get("choices", ()), start, given, table, environment)
        return what, [f"{name}={value}" for value in values] if whole else values
    if current.startswith("-"):
        return "values", _beginning(((name, option["help"]) for name, option in options.items()), current)
    if "commands" in command:
        if places:
            return "values", []  # No such command: there is nothing to say of what follows.
        return "values", _beginning(((name, sub["help"]) for name, sub in command["commands"].items()), current)
    arguments = command["arguments"]
    if places >= len(arguments):
        return "values", []
    argument = arguments[places]
    return _named(argument["takes"], argument.get("choices", ()), current, given, table, environment)


def _joined(words: Sequence[str]) -> list[str]:
    """Words as the program would get them: bash cuts `--repo=x` in three."""
    out: list[str] = []
    for word in words:
        if out and (word == "=" and out[-1].startswith("--")):
            out[-1] += "="
        elif out and out[-1].startswith("--") and out[-1].endswith("="):
            out[-1] += word
        else:
            out.append(word)
    return out


def _walk(table: dict[str, Any], words: Sequence[str]) -> tuple[dict[str, Any], int, dict[str, str], dict[str, Any] | None]:
    """The command that the words reach, its arguments so far, the options' values, and the option that waits for a value."""
    command, places, given = table, 0, {}
    pending: dict[str, Any] | None = None
    for word in words:
        if pending is not None:
            given[pending["names"][-1]] = word
            pending = None
            continue
        if word.startswith("-") and word != "-":
            name, equals, value = word.partition("=")
            option = next((one for one in command["options"] if name in one["names"]), None)
            if option and option["takes"] and equals:
                given[option["names"][-1]] = value
            elif option and option["takes"]:
                pending = option
        elif word in command.get("commands", {}):
            command = command["commands"][word]
        else:
            places += 1
    return command, places, given, pending


def _named(
    takes: str,
    choices: Iterable[str],
    start: str,
    given: Mapping[str, str],
    table: Mapping[str, Any],
    environment: Mapping[str, str],
) -> Candidates:
    """Candidates for a value of some sort."""
    if takes in ("files", "folders"):
        return takes, []
    if takes == "repository":
        return "values", _beginning(((name, "") for name in _repositories(given, environment)), start)
    if takes == "version":
        return "values", _beginning(_versions(given, environment), start)
    if takes == "target":
        # A folder goes before a name, for `build` as well.
        names = _beginning(((name, "") for name in _repositories(given, environment)), start)
        return ("values", names) if names and start else ("files" if takes == "files" else "folders", [])
    return "values", _beginning(((value, "") for value in (*choices, *table["values"].get(takes, ()))), start)


def _beginning(pairs: Iterable[tuple[str, str]], start: str) -> list[str]:
    return [f"{name}\t{text}" if text else name for name, text in pairs if name.startswith(start)]


def _store(given: Mapping[str, str], environment: Mapping[str, str]) -> str:
    if named := given.get("--data"):
        return os.path.expanduser(named)  # noqa: PTH111
    from pathlib import Path

    from pipeline.store.place import default_data

    return str(default_data(Path.cwd(), environment))


def _repositories(given: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Name -> folder of what is registered."""
    from urllib.parse import unquote

    with os.scandir(_store(given, environment)) as entries:
        folders = sorted(entry.path for entry in entries if not entry.name.startswith("."))
    return {
        unquote(os.path.basename(folder)): folder  # noqa: PTH119
        for folder in folders
        if os.path.isfile(os.path.join(folder, "repository.json"))  # noqa: PTH113,PTH118
    }


def _versions(given: Mapping[str, str], environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Versions of the repository that is meant, the newest first; of all, where that is not said."""
    known = _repositories(given, environment)
    wanted = [known[given["--repo"]]] if given.get("--repo") in known else _around(known) or list(known.values())
    found: list[tuple[float, str, str]] = []
    for folder in wanted:
        with contextlib.suppress(OSError), os.scandir(os.path.join(folder, "versions")) as entries:  # noqa: PTH118
            found += [(entry.stat().st_mtime, entry.name, folder) for entry in entries if entry.name.startswith("v-")]
    names = {folder: name for name, folder in known.items()}
    return [(name, names[folder]) for _, name, folder in sorted(found, reverse=True)]


def _around(known: Mapping[str, str]) -> list[str]:
    """Folders of the repositories that the working directory lies in."""
    here, found = os.path.realpath(os.getcwd()) + os.sep, []  # noqa: PTH109
    for folder in known.values():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            with open(os.path.join(folder, "repository.json"), encoding="utf-8") as file:  # noqa: PTH118,PTH123
                path = json.load(file)["path"]
            if here.startswith(path.rstrip(os.sep) + os.sep):
                found.append(folder)
    return found
