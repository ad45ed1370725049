"""An index of symbols that is kept says so, and is made again when somebody asks for it."""

from __future__ import annotations

from typing import Any

KEPT = {"CODEINTEL_SCIP_STALE_SHARE": "0.5"}


def test_an_edit_keeps_the_index_and_says_so_until_it_is_made_again(world: Any) -> None:
    assert "scip_index" in world.build(env=KEPT).json["built"]
    path = world.repo / "harbour" / "fees.py"
    path.write_text(path.read_text() + "\n\ndef harbour_due(length):\n    return berth_fee(length, 1)\n")
    done = world("build", world.repo, "--ephemeral", env=KEPT)
    assert done.code == 0
    assert "symbols: python: 1 file of 4 changed since symbols were indexed; `indexctl build --refresh-scip`" in done.err
    [row] = world("status", "--json", "--losses").json["repos"]
    python = next(one for one in row["symbols"]["indexers"] if one["language"] == "python")
    assert (python["moved"], python["files"], row["symbols"]["precise_files"]) == (1, 4, 3)
    assert {"artefact": "scip_index", "uri": "harbour/fees.py", "reason": "it has changed since the index was made"} in row[
        "losses"
    ]
    assert "1 file of 4 changed since symbols were indexed" in world("status").out
    again = world.build("--refresh-scip", env=KEPT).json
    assert "scip_index" in again["built"] and "chunks" in again["reused"]
    [row] = world("status", "--json").json["repos"]
    assert row["symbols"]["precise_files"] == 4 and "changed since" not in world("status").out
    assert world.build(env=KEPT).json["built"] == [], "what was refreshed is what is planned"
    assert world.build("--refresh-scip", env=KEPT).json["built"] == [], "nothing has changed since"


def test_to_run_indexers_and_to_run_none_exclude_each_other(world: Any) -> None:
    done = world("build", world.repo, "--no-scip", "--refresh-scip")
    assert done.code == 2 and "--refresh-scip and --no-scip exclude each other" in done.err
