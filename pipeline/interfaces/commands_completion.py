"""`indexctl completion`: the script that teaches a shell to complete `indexctl`.

Belongs here: the scripts. Not here: what completes a word (`completing`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """Shells that there is a script for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


# Each asks the program itself, with the words before the cursor and the word at it. The first line that comes back is
# `values`, `files` or `folders`; the others are values, with a tab and a description behind some.
_SCRIPTS = {
    Shell.bash: r"""
_indexctl() {
    local current="${COMP_WORDS[COMP_CWORD]}" lines=() IFS=$'\n'
    [[ $current == "=" ]] && current=""
    mapfile -t lines < <(_INDEXCTL_COMPLETE=bash "${1/#\~/$HOME}" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    case "${lines[0]}" in
        files) compopt -o filenames; COMPREPLY=($(compgen -f -- "$current")) ;;
        folders) compopt -o filenames; COMPREPLY=($(compgen -d -- "$current")) ;;
        *) COMPREPLY=("${lines[@]:1}") ;;
    esac
}
complete -F _indexctl indexctl
""",
    Shell.zsh: r"""
#compdef indexctl
_indexctl() {
    local -a lines values
    local line
    lines=("${(@f)$(_INDEXCTL_COMPLETE=zsh "${words[1]/#\~/$HOME}" "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    case $lines[1] in
        files) compset -P '--*='; _files ;;
        folders) compset -P '--*='; _files -/ ;;
        values)
            for line in "${(@)lines[2,-1]}"; do values+=("${line/$'\t'/:}"); done
            _describe -V indexctl values ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _indexctl "$@"; else compdef _indexctl indexctl; fi
""",
    Shell.fish: r"""
function __indexctl_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (_INDEXCTL_COMPLETE=fish $before[1] $before[2..] "$current" 2>/dev/null)
    switch "$lines[1]"
        case files
            __fish_complete_path "$current"
        case folders
            __fish_complete_directories "$current"
        case values
            printf '%s\n' $lines[2..]
    end
end
complete --command indexctl --no-files --arguments '(__indexctl_complete)'
""",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("completion")(completion)


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that the script is for.")]) -> None:
    """Print the script that completes commands, options, repositories, versions, languages and kinds in a shell."""
    typer.echo(_SCRIPTS[shell].strip())
