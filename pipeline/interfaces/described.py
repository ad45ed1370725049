"""The commands as data, and what is made of them: `commands.json`, `docs/commands.md`, the manual page.

`python docs/commands.py` writes all three; a test compares them with the commands.

Belongs here: reading Typer's commands, and rendering. Not here: their texts (`manual`, `commands_*`).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from pipeline import __version__
from pipeline.interfaces.main import make_app
from pipeline.interfaces.manual import ENVIRONMENT, EXIT_CODES, PAGES, PANELS, exit_line

_TAKES = {
    "FILE": "files", "[LANG=]FILE": "files", "DIR": "folders", "L": "lang", "K": "kind", "V": "version", "VERSION": "version",
    "V1 V2": "version", "PATH|URL": "folders",
}  # fmt: skip
"""Placeholder of a value -> what completes it, where that says enough."""
_REGISTERED = {("repos", "remove")}
"""Commands whose NAME is a registered repository, where it is elsewhere the name of a symbol."""


def described() -> dict[str, Any]:
    """{name, help, options, arguments, commands} of `indexctl`, its commands, and theirs."""
    return _command(typer.main.get_command(make_app()), ())


def _command(command: Any, path: tuple[str, ...]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "name": " ".join(("indexctl", *path)),
        "help": " ".join((command.help or "").split("\n\n")[0].split()),
        "more": [" ".join(text.split()) for text in (command.help or "").split("\n\n")[1:]],
        "options": [_option(param, path) for param in command.params if param.param_type_name == "option" and not param.hidden],
        "arguments": [_argument(param, path) for param in command.params if param.param_type_name == "argument"],
    }
    if hasattr(command, "commands"):
        out["commands"] = {name: _command(sub, (*path, name)) for name, sub in command.commands.items()}
    return out


def _option(param: Any, path: tuple[str, ...]) -> dict[str, Any]:
    choices = _choices(param)
    placeholder = "" if param.is_flag else param.metavar or "|".join(choices) or _type_name(param)
    return {
        "names": [*param.opts, *param.secondary_opts], "placeholder": placeholder, "help": param.help or "",
        "default": _default(param), "takes": "" if param.is_flag else _takes(param, placeholder, path), "choices": choices,
    }  # fmt: skip


def _argument(param: Any, path: tuple[str, ...]) -> dict[str, Any]:
    choices = _choices(param)
    placeholder = param.metavar or "|".join(choices) or param.name.upper()
    return {
        "name": placeholder, "help": param.help or "", "required": param.required, "default": _default(param),
        "takes": _takes(param, placeholder, path), "choices": choices,
    }  # fmt: skip


def _choices(param: Any) -> list[str]:
    """Values of an enumeration."""
    annotation = param.type_descriptor.annotation
    if not (isinstance(annotation, type) and issubclass(annotation, enum.Enum)):
        return []
    return [str(one.value) for one in annotation]


def _type_name(param: Any) -> str:
    return {int: "N", float: "X"}.get(param.type_descriptor.annotation, str(param.name).upper())


def _takes(param: Any, placeholder: str, path: tuple[str, ...]) -> str:
    """What completes a value; `choice` where nothing but its own choices does."""
    if "--repo" in param.opts or (placeholder == "NAME" and path in _REGISTERED):
        return "" if path == ("repos", "add") and not param.opts else "repository"
    if placeholder == "PATH" and param.name == "path":
        return "target"
    return _TAKES.get(placeholder, "choice")


def _default(param: Any) -> str:
    """What holds when it is not given; empty where that is nothing, or said by the help."""
    value = param.default
    if value is None or value in ("", False, True, []) or callable(value) or not param.show_default:
        return ""
    return str(value.value if isinstance(value, enum.Enum) else value)


def table_json(tree: Mapping[str, Any]) -> str:
    """What `completing` reads: names, and what completes a value."""
    from pipeline.source.languages import LANGUAGES
    from pipeline.structure.kinds import KINDS

    table = _pruned(tree) | {"values": {"lang": sorted(LANGUAGES), "kind": sorted(KINDS)}}
    return json.dumps(table, indent=1, ensure_ascii=False) + "\n"


def _pruned(command: Mapping[str, Any]) -> dict[str, Any]:
    def kept(one: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        return {name: one[name] for name in names if one[name] or name == "takes"}

    helped = [
        *command["options"],
        {"names": ["--help", "-h"], "takes": "", "help": "Show this message and exit.", "choices": []},
    ]
    out: dict[str, Any] = {
        "help": command["help"],
        "options": [kept(one, ("names", "takes", "choices", "help")) for one in helped],
        "arguments": [kept(one, ("takes", "choices")) for one in command["arguments"]],
    }
    if "commands" in command:
        out["commands"] = {name: _pruned(sub) for name, sub in command["commands"].items()}
    return out


def leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every command that does something, by its name without `indexctl`."""
    for name, command in tree["commands"].items():
        if "commands" in command:
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def usage(command: Mapping[str, Any]) -> str:
    """`indexctl search [OPTIONS] [QUERY]`."""
    places = [one["name"] if one["required"] else f"[{one['name']}]" for one in command["arguments"]]
    return " ".join((command["name"], "[OPTIONS]", *places))


def markdown(tree: Mapping[str, Any]) -> str:
    """`docs/commands.md`."""
    lines = [
        "# Commands", "", "Made by `python docs/commands.py` from the commands: it is what `indexctl COMMAND --help` says.", "",
        f"{tree['help']} Results go to standard output, progress and notes to standard error.", "",
    ]  # fmt: skip
    lines += ["| exit code | meaning |", "|---|---|", *(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()), ""]
    lines += [
        "| variable | meaning |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT.items()),
        "",
    ]
    commands = dict(leaves(tree))
    for panel in PANELS:
        lines += [f"## {panel}", ""]
        for name, command in commands.items():
            if PAGES[name].panel == panel:
                lines += _section(name, command)
    return "\n".join(lines).rstrip() + "\n"


def _section(name: str, command: Mapping[str, Any]) -> Iterator[str]:
    page = PAGES[name]
    yield from (f"### {name}", "", f"    {usage(command)}", "", command["help"], "")
    for text in command["more"]:
        yield from (text, "")
    rows = [(one["name"], one) for one in command["arguments"]] + [(_names(one), one) for one in command["options"]]
    if rows:
        yield from ("| | |", "|---|---|")
        for title, one in rows:
            yield f"| `{_cell(title)}` | {_cell(_helped(one))} |"
        yield ""
    yield from (*(f"    {example}" for example in page.examples), "")
    if page.exits:
        yield from (f"Exit codes: {exit_line(page.exits)}", "")
    if page.environment:
        yield from (f"Environment: {', '.join(f'`{one}`' for one in page.environment)}.", "")


def _helped(one: Mapping[str, Any]) -> str:
    """What an option or argument is for, and what holds without it."""
    choices = f" One of {', '.join(one['choices'])}." if one["choices"] else ""
    default = f" Default: `{one['default']}`." if one["default"] else ""
    return f"{one['help']}{choices}{default}".strip()


def _names(option: Mapping[str, Any]) -> str:
    return f"{', '.join(option['names'])} {option['placeholder']}".rstrip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def manual_page(tree: Mapping[str, Any]) -> str:
    """`indexctl.1`, in the man macros."""
    lines = [
        f'.TH INDEXCTL 1 "" "codeintel-pipeline {__version__}" "User Commands"',
        ".SH NAME", "indexctl \\- " + _roff(tree["help"].rstrip(".").lower()),
        ".SH SYNOPSIS", ".B indexctl", "[\\-\\-version] [\\-\\-debug]", ".I COMMAND", "[OPTIONS] [ARGUMENTS]",
    ]  # fmt: skip
    commands = dict(leaves(tree))
    for panel in PANELS:
        lines += [f'.SH "{panel.upper()}"']
        for name, command in commands.items():
            if PAGES[name].panel == panel:
                lines += _man_section(name, command)
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", str(code), _roff(meaning)]
    lines += [".SH ENVIRONMENT"]
    for variable, meaning in ENVIRONMENT.items():
        lines += [".TP", f".B {_roff(variable)}", _roff(meaning)]
    lines += [".SH SEE ALSO", "The folder docs of the project: the runbook, the SQL cookbook, and what every table holds."]
    return "\n".join(lines) + "\n"


def _man_section(name: str, command: Mapping[str, Any]) -> Iterator[str]:
    page = PAGES[name]
    yield from (f'.SS "{_roff(usage(command))}"', _roff(command["help"]))
    for text in command["more"]:
        yield from (".PP", _roff(text))
    for title, one in [(one["name"], one) for one in command["arguments"]] + [(_names(one), one) for one in command["options"]]:
        yield from (".TP", f".B {_roff(title)}", _roff(_helped(one)))
    yield from (".PP", "Examples:", ".PP", ".nf", *(f"    {_roff(example)}" for example in page.examples), ".fi")
    if page.exits:
        yield from (".PP", _roff(f"Exit codes: {exit_line(page.exits)}"))


def _roff(text: str) -> str:
    """Text that no macro reads anything into."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def outputs(top: Path) -> dict[Path, str]:
    """File below the checkout -> what stands in it."""
    tree = described()
    return {
        top / "docs" / "commands.md": markdown(tree),
        top / "pipeline" / "interfaces" / "commands.json": table_json(tree),
        top / "packaging" / "indexctl.1": manual_page(tree),
    }
