"""What `--help` says of each command beside its sentence and its options: panel, examples, exit codes, environment.

The pages of `docs/commands.md`, the manual page and `--help` are all made of this table and of the commands themselves.

Belongs here: the table, and how it becomes the end of a help page. Not here: the commands (`commands_*`), other forms of the
same text (`described`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

BUILD, SEARCH, AUDIT, OPERATE = "Build", "Search", "Audit", "Operate"
PANELS = (BUILD, SEARCH, AUDIT, OPERATE)

EXIT_CODES = {
    0: "done",
    1: "it ran and the answer is bad",
    2: "usage, or a setting that cannot be",
    3: "no index, or no such thing",
    4: "somebody else builds this repository",
    130: "interrupted",
}

ENVIRONMENT = {
    "CODEINTEL_DATA": "The store, where --data does not name one.",
    "CODEINTEL_WORKERS": "Processes that a build uses; else as many as the machine has cores.",
    "CODEINTEL_…": "Any setting of codeintel.toml, as CODEINTEL_CHUNK_BUDGET; `indexctl doctor` names what is misspelt.",
    "CODEINTEL_LOG": "Servers and `ui`: lines of the log as `json` or `plain`; set, `build` writes its own too.",
    "CODEINTEL_LOG_LEVEL": "Servers and `ui`: `debug`, `info`, `warning` or `error`; set, it holds for `build` too.",
    "CODEINTEL_GIT_TOKEN_<HOST>": "`repos add`, `build`: the token for a git host, dots and dashes as `_`.",
    "CODEINTEL_GIT_SSH_KEY": "`repos add`, `build`: the private key for remotes over ssh.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Servers: where spans are sent, with the extra `otel`.",
    "NO_COLOR": "Print without colours.",
}
"""Variable -> what it does. Those of all commands stand on the page of `indexctl` alone."""


@dataclass(frozen=True, slots=True)
class Page:
    """What the help of one command ends with."""

    panel: str
    examples: tuple[str, ...]
    exits: Mapping[int, str] = field(default_factory=dict)
    """What a code says of this command, where that is more than `EXIT_CODES` says."""
    environment: tuple[str, ...] = ()
    """Keys of `ENVIRONMENT` that matter to this command."""


_GIT = ("CODEINTEL_GIT_TOKEN_<HOST>", "CODEINTEL_GIT_SSH_KEY")
_SERVER = ("CODEINTEL_LOG", "CODEINTEL_LOG_LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT")

PAGES: dict[str, Page] = {
    "plan": Page(BUILD, ("indexctl plan .", "indexctl plan . --files", "indexctl plan ~/src/django --rev stable/5.2.x --json")),
    "build": Page(
        BUILD,
        (
            "indexctl build .",
            "indexctl build . --rev v2.1 --repo shop",
            "indexctl build ~/src/service --scip python=index.scip",
            "indexctl build . --allow-regression --json",
        ),
        {1: "a check refused the version, and what was published stays"},
        ("CODEINTEL_WORKERS", *_GIT),
    ),
    "watch": Page(
        BUILD,
        ("indexctl watch .", "indexctl watch ~/src/service --poll 5 --json"),
        {0: "ended by Ctrl-C or SIGTERM", 3: "the folder is gone"},
        ("CODEINTEL_WORKERS",),
    ),
    "repos": Page(BUILD, ("indexctl repos list",)),
    "repos add": Page(
        BUILD,
        ("indexctl repos add ~/src/django", "indexctl repos add https://example.org/team/shop.git --repo team/shop --rev main"),
        environment=_GIT,
    ),
    "repos remove": Page(BUILD, ("indexctl repos remove team/shop --keep-data", "indexctl repos remove team/shop --yes")),
    "repos list": Page(BUILD, ("indexctl repos list", "indexctl repos list --json")),
    "search": Page(
        SEARCH,
        (
            'indexctl search "where are session cookies signed"',
            'indexctl search "retry with backoff" --lang python --path "src/**" -k 5 --explain',
            "indexctl search QuerySet.filter --rev v5.0 --json",
            "indexctl search --batch queries.jsonl --json",
        ),
    ),
    "show": Page(SEARCH, ("indexctl show 8569258749790732859", "indexctl show 8569258749790732859 --json")),
    "related": Page(SEARCH, ("indexctl related 8569258749790732859 -k 5 --explain",)),
    "symbols": Page(SEARCH, ("indexctl symbols QuerySet.filter", "indexctl symbols Session --no-refs --json")),
    "sql": Page(
        SEARCH,
        (
            'indexctl sql "SELECT lang, count(*) AS chunks FROM chunks GROUP BY lang ORDER BY chunks DESC"',
            'indexctl sql "SELECT uri, reason FROM files WHERE status <> \'indexed\'" --json',
            "indexctl sql",
        ),
    ),
    "status": Page(AUDIT, ("indexctl status", "indexctl status --losses --json")),
    "verify": Page(
        AUDIT, ("indexctl verify", "indexctl verify --deep --version v-3f9a --json"), {1: "something does not hold"}
    ),
    "versions": Page(AUDIT, ("indexctl versions", "indexctl versions --repo django --json")),
    "eval": Page(
        AUDIT,
        (
            "indexctl eval",
            "indexctl eval --queries questions.jsonl -k 5",
            'indexctl eval --grid "nprobe=1,4,16;k_factor=1,2"',
            "indexctl eval --compare v-3f9a v-77c0",
            "indexctl eval --history",
        ),
        {1: "with --compare: the versions were not asked the same queries"},
    ),
    "coverage": Page(
        AUDIT, ("indexctl coverage", "indexctl coverage --missed --module src/shop", "indexctl coverage --by language")
    ),
    "report": Page(AUDIT, ("indexctl report --open", "indexctl report --out quality.html")),
    "tune": Page(AUDIT, ("indexctl tune --dry-run", "indexctl tune --target-recall 0.98 --lock", "indexctl tune --unlock")),
    "trace": Page(AUDIT, ("indexctl trace show",)),
    "trace on": Page(AUDIT, ("indexctl trace on --repo django",)),
    "trace off": Page(AUDIT, ("indexctl trace off --repo django",)),
    "trace show": Page(AUDIT, ("indexctl trace show", "indexctl trace show --json")),
    "trace clear": Page(AUDIT, ("indexctl trace clear --repo django",)),
    "idmap": Page(AUDIT, ("indexctl idmap views",)),
    "idmap export": Page(AUDIT, ("indexctl idmap export --out idmap.parquet", "indexctl idmap export --out - --format jsonl")),
    "idmap views": Page(AUDIT, ("indexctl idmap views --repo django",)),
    "idmap materialize": Page(AUDIT, ("indexctl idmap materialize --repo django",)),
    "doctor": Page(OPERATE, ("indexctl doctor", "indexctl doctor --json"), {1: "something is wrong"}),
    "rollback": Page(
        OPERATE,
        ("indexctl rollback", "indexctl rollback v-3f9a --repo django"),
        {1: "the version does not verify, and what was published stays"},
    ),
    "pin": Page(OPERATE, ('indexctl pin --note "what runs in production"', "indexctl pin --rev v1.4")),
    "unpin": Page(OPERATE, ("indexctl unpin v-3f9a",)),
    "gc": Page(OPERATE, ("indexctl gc --dry-run", "indexctl gc --keep 1 --repo django")),
    "serve": Page(
        OPERATE,
        (
            "indexctl serve",
            "indexctl serve --host 0.0.0.0 --token-file /etc/codeintel/token --allow-host code.example.org",
        ),
        environment=_SERVER,
    ),
    "mcp": Page(
        OPERATE,
        ("indexctl mcp --data ~/.local/share/codeintel", "indexctl mcp --http --port 8765 --token-file token"),
        environment=_SERVER,
    ),
    "ui": Page(
        OPERATE,
        ("indexctl ui", "indexctl ui --port 3333 --data /srv/codeintel", "indexctl ui --prepare"),
        environment=_GIT,
    ),
    "completion": Page(
        OPERATE,
        (
            'eval "$(indexctl completion bash)"',
            "indexctl completion zsh > ~/.zfunc/_indexctl",
            "indexctl completion fish > ~/.config/fish/completions/indexctl.fish",
        ),
    ),
}  # fmt: skip
"""Command -> its page."""


def exit_line(own: Mapping[int, str]) -> str:
    """All exit codes in one sentence, with what some of them say of one command."""
    return "; ".join(f"{code} {own.get(code, meaning)}" for code, meaning in EXIT_CODES.items()) + "."


def epilog_of(page: Page) -> str:
    """The end of a command's help, as Typer takes it."""
    return _epilog(page.examples, page.exits, page.environment)


def program_epilog() -> str:
    """The end of the help of `indexctl` itself."""
    return _epilog(('indexctl build . && indexctl search "where are session cookies signed"',), {}, ENVIRONMENT)


def _epilog(examples: Iterable[str], exits: Mapping[int, str], environment: Iterable[str]) -> str:
    parts = [["Examples:", *(f"  {example}" for example in examples)], [f"Exit codes: {exit_line(exits)}"]]
    named = [f"  {name}: {ENVIRONMENT[name]}" for name in environment]
    parts += [["Environment:", *named]] if named else []
    # Brackets are markup to Rich.
    return "\n\n".join("\n".join(part) for part in parts).replace("[", "\\[")
