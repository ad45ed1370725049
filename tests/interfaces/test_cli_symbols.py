"""`indexctl symbols`, and what `show` says around a chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_STEPS = "".join(
    f'    def step{number}(self):\n        """One of many, many steps."""\n        return self\n\n' for number in range(60)
)
FILES = {
    "dance.py": f'class Dance:\n    """A dance."""\n\n{_STEPS}    def waltz(self):\n        return self.step1()\n',
    "ball.py": "from dance import Dance\n\n\ndef open_ball():\n    # straße\n    return Dance().waltz()\n",
    "codeintel.toml": 'scip = "off"\n',
    "steps.py": "".join(f"class Step{number}:\n    def tap(self):\n        pass\n\n" for number in range(7)),
    "shoes.py": "def shoe(step):\n    return step.tap()\n",
    "hall.js": "function lightUp(hall) {\n  return hall;\n}\n\nfunction evening() {\n  return lightUp(1);\n}\n",
}
SYMBOL = (
    "symbol", "display_name", "qualified_name", "kind", "provenance", "signature", "documentation", "definitions",
    "references", "reference_count", "bases", "base_count", "implementations", "implementation_count", "callers",
    "caller_count", "callees", "callee_count",
)  # fmt: skip


class Ball:
    """A repository built from syntax alone, and its store."""

    def __init__(self, root: Path, run: Any) -> None:
        self.repo, self.store, self._run = root / "ball", root / "store", run
        self.repo.mkdir()
        for name, text in FILES.items():
            (self.repo / name).write_text(text, "utf-8")
        done = run("build", self.repo, "--data", self.store, "--ephemeral")
        assert done.code == 0, done.err

    def __call__(self, command: str, *arguments: str) -> Any:
        return self._run(command, "--data", self.store, *arguments)


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> Ball:
    return Ball(tmp_path_factory.mktemp("symbols"), indexctl)


def spelled(place: dict[str, Any]) -> str:
    """The bytes of a place, once its line is found to be right."""
    content = FILES[place["uri"]].encode()
    assert place["line"] == content.count(b"\n", 0, place["start_byte"]) + 1
    return content[place["start_byte"] : place["end_byte"]].decode()


def test_an_answer_has_the_documented_shape(built: Any) -> None:
    answer = built("symbols", "berth_fee", "--json").json
    assert sorted(answer) == ["behind", "name", "repo", "stale", "symbol_count", "symbols", "version"]
    assert (answer["repo"], answer["version"], answer["stale"], answer["name"]) == ("demo", built.version, False, "berth_fee")
    [symbol] = answer["symbols"]
    assert sorted(symbol) == sorted(SYMBOL)
    assert (symbol["display_name"], symbol["kind"]) == ("berth_fee", "function")
    assert symbol["provenance"] in ("scip", "syntax")
    [place] = symbol["definitions"]
    assert (place["uri"], place["line"]) == ("harbour/fees.py", 4)
    content = (built.repo / place["uri"]).read_bytes()
    assert content[place["start_byte"] : place["end_byte"]] == b"berth_fee"


@pytest.mark.parametrize(
    "name", ["waltz", "Dance.waltz", "Dance.waltz()", "Dance::waltz", "Dance#waltz", "Dance->waltz()", "@waltz", " waltz "]
)
def test_a_name_is_found_alone_and_qualified_in_any_spelling(ball: Ball, name: str) -> None:
    answer = ball("symbols", name, "--json").json
    assert answer["name"] == name.strip()
    [place] = [place for symbol in answer["symbols"] for place in symbol["definitions"]]
    assert place["uri"] == "dance.py" and spelled(place) == "waltz"


def test_the_symbol_of_an_answer_is_itself_a_name(ball: Ball) -> None:
    first = ball("symbols", "waltz", "--json").json["symbols"]
    assert ball("symbols", first[0]["symbol"], "--json").json["symbols"] == first


@pytest.mark.parametrize(("name", "uri"), [("waltz", "ball.py"), ("lightUp", "hall.js"), ("Dance", "ball.py")])
def test_without_an_indexer_references_are_those_of_syntax_and_say_so(ball: Ball, name: str, uri: str) -> None:
    symbols = ball("symbols", name, "--json").json["symbols"]
    assert {symbol["provenance"] for symbol in symbols} == {"syntax"}
    places = [place for symbol in symbols for place in symbol["references"]]
    assert uri in {place["uri"] for place in places} and {spelled(place) for place in places} == {name}
    assert sum(symbol["reference_count"] for symbol in symbols) == len(places)


def test_references_are_limited_and_the_rest_is_counted(ball: Ball) -> None:
    everything = ball("symbols", "Dance", "--json").json["symbols"][0]
    count = everything["reference_count"]
    assert count == len(everything["references"]) > 1
    few = ball("symbols", "Dance", "-k", "1", "--json").json["symbols"][0]
    assert (few["references"], few["reference_count"]) == (everything["references"][:1], count)
    assert f"… and {count - 1} more" in ball("symbols", "Dance", "-k", "1").out
    assert ball("symbols", "Dance", "--no-refs", "--json").json["symbols"][0]["references"] == []
    assert "referred to" not in ball("symbols", "Dance", "--no-refs").out


def test_a_name_of_many_symbols_is_a_list_with_all_of_them_counted(ball: Ball) -> None:
    done = ball("symbols", "tap")
    assert [line.split()[0] for line in done.out.splitlines()] == [*(f"Step{number}.tap" for number in range(7)), "tap"]
    assert "steps.py:2" in done.out and "not resolved  1 reference" in done.out
    few = ball("symbols", "tap", "-n", "2")
    assert few.out.count("steps.py:") == 2 and "and 6 more symbols" in few.err and "Step1.tap  method" in few.out
    answer = ball("symbols", "tap", "-n", "3", "--json").json
    assert (answer["symbol_count"], len(answer["symbols"])) == (8, 3)


def test_what_syntax_cannot_resolve_is_told_beside_what_it_may_mean(ball: Ball) -> None:
    answer = ball("symbols", "Step3.tap", "--json").json
    assert [(symbol["qualified_name"], symbol["kind"]) for symbol in answer["symbols"]] == [
        ("Step3.tap", "method"), ("tap", "name"),
    ]  # fmt: skip
    [place] = answer["symbols"][1]["references"]
    assert place["uri"] == "shoes.py" and spelled(place) == "tap"
    assert "cannot tell" in ball("symbols", "Step3.tap").out


@pytest.mark.parametrize("name", ["DANCE", "wal"])
def test_a_name_that_nothing_has_as_it_is_says_so(ball: Ball, name: str) -> None:
    done = ball("symbols", name)
    assert done.code == 0 and done.out and f"no symbol is called `{name}`" in done.err
    assert "no symbol is called" not in ball("symbols", "waltz").err


def test_what_is_only_in_a_comment_is_no_symbol(ball: Ball) -> None:
    assert ball("symbols", "straße").code == 3


def test_no_references_are_shown_for_none_and_still_counted(ball: Ball) -> None:
    assert "referred to" in ball("symbols", "Dance", "-k", "0").out


def test_people_read_places_as_file_and_line(ball: Ball) -> None:
    done = ball("symbols", "Dance")
    assert done.code == 0 and "Dance  class" in done.out
    assert "dance.py:1\n" in done.out and "ball.py:6\n" in done.out and "syntax" in done.out


def test_a_name_that_is_not_there_is_not_found_and_near_ones_are_named(ball: Ball) -> None:
    done = ball("symbols", "waltzz")
    assert (done.code, done.out) == (3, "") and "waltzz" in done.err and "Near it: Dance.waltz" in done.err
    nothing = ball("symbols", "qqqqxxxx", "--json")
    assert (nothing.code, nothing.out) == (3, "") and "Near" not in nothing.err


@pytest.mark.parametrize(
    "name",
    ["'; DROP TABLE definitions; --", "%", "*", "(((", "日本語", "a b c", "x" * 10_000, "a." * 10_000, "(" * 10_000, "\\"],
)
def test_any_text_is_just_a_name(ball: Ball, name: str) -> None:
    assert ball("symbols", "--json", "--", name).code == 3


@pytest.mark.parametrize("arguments", [("",), ("  ",), ("waltz", "-k", "-1"), ("waltz", "-k", "x"), ("waltz", "-n", "0"), ()])
def test_what_cannot_be_asked_is_a_usage_error(ball: Ball, arguments: tuple[str, ...]) -> None:
    done = ball("symbols", *arguments)
    assert (done.code, done.out) == (2, "") and done.err


def test_an_index_that_is_behind_says_so(world: Any) -> None:
    (world.repo / "harbour/tides.py").write_text("def ebb(): pass\n")
    assert world("symbols", "berth_fee", "--json").json["stale"] is True
    assert "1 file changed" in world("symbols", "berth_fee").err


def test_show_says_what_a_chunk_stands_in_and_defines_and_who_calls_it(ball: Ball) -> None:
    hit = ball("search", "Dance.waltz", "-k", "1", "--json").json["results"][0]
    chunk = ball("show", hit["id"], "--json").json
    assert chunk["scope"] == [{"kind": "class", "name": "Dance", "line": 1}]
    assert "waltz" in {symbol["display_name"] for symbol in chunk["defines"]}
    assert "open_ball" in chunk["callers"] and chunk["caller_count"] == len(chunk["callers"])
    human = ball("show", hit["id"]).out
    assert "in        class Dance" in human and "waltz" in human and "called by open_ball" in human


def test_show_of_a_chunk_that_stands_in_nothing_has_an_empty_scope(ball: Ball) -> None:
    hit = ball("search", "lightUp", "-k", "1", "--json").json["results"][0]
    assert ball("show", hit["id"], "--json").json["scope"] == []
