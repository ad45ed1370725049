"""The page: what it says first, what it shows in every state of an index, and that it needs nothing else."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from pipeline.config import Settings
from pipeline.evaluation.changes import changed_settings
from pipeline.evaluation.comparison import Comparison, Difference, Moved
from pipeline.evaluation.document import Interval, Share
from pipeline.evaluation.history import Entry
from pipeline.evaluation.report.page import render
from pipeline.evaluation.report.subject import Checked, Evaluated

Make = Callable[..., Evaluated]


class _Page(HTMLParser):
    """Elements with their attributes and text; fails where tags do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(page: str) -> str:
    """The words of a page, without styles, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S))).split())


def difference(mean: float, low: float, high: float) -> Comparison:
    change = Interval(mean=mean, low=low, high=high)
    overall = Difference(queries=380, before=0.6, after=0.6 + mean, ndcg=change, hit=change, mrr=change, wide=change)
    moved = Moved("q", "how is a ship moored", "intent", True, "quay.py", "moor", 1, None, 1.0, 0.0)
    return Comparison(k=10, shared=380, overall=overall, worse=(moved,) * 12)


def test_the_head_says_quality_and_what_is_indexed(evaluated: Make) -> None:
    said = text_of(render(evaluated()))
    assert "78 % of 400 test queries find an answer in the first 10" in said
    assert "nDCG@10 is 0.610 (0.580–0.640): plain queries 0.720; masked queries 0.460." in said
    assert "1,923 of 2,410 files are indexed (45.8 % of the bytes)" in said
    assert "99.9 % of 21,997 definitions lie in every index; of 1,500 that were asked for, 86.0 % are found" in said


@pytest.mark.parametrize(
    ("change", "said", "kind"),
    [
        ((-0.05, -0.08, -0.02), "Worse: nDCG −0.050 (−0.080 to −0.020)", "bad"),
        ((0.05, 0.02, 0.08), "Better: nDCG +0.050", "good"),
        ((-0.002, -0.009, 0.005), "No difference that counts", "good"),
        ((-0.02, -0.035, -0.005), "No difference that counts", "good"),
        ((0.0, 0.0, 0.0), "The same", "good"),
    ],
)
def test_a_fall_counts_when_its_interval_lies_beyond_the_tolerance(
    evaluated: Make, change: tuple[float, float, float], said: str, kind: str
) -> None:
    page = render(evaluated(before="v-0000000000000000", comparison=difference(*change)))
    point = next(item for item in re.findall(r'<li class="\w+">.*?</li>', page) if "Against the version before" in item)
    assert said in text_of(point) and point.startswith(f'<li class="{kind}">')


def test_failed_checks_are_in_the_head_with_their_reason(evaluated: Make) -> None:
    page = render(evaluated(checks=[Checked(name="recall_bound", problems=("finds 0.4 of them",)), Checked(name="fine")]))
    assert "Check failed. recall_bound : finds 0.4 of them" in text_of(page).split("What is indexed")[0]
    assert "All 2 hold" not in text_of(page)
    assert "All 1 hold" in text_of(render(evaluated(checks=[Checked(name="fine")])))


def test_queries_that_got_worse_are_named(evaluated: Make) -> None:
    said = text_of(render(evaluated(before="v-0000000000000000", comparison=difference(-0.05, -0.08, -0.02))))
    assert "12 queries of 380 shared ones got worse" in said and "how is a ship moored" in said and "and 2 more queries" in said


def test_the_worst_queries_say_what_came_instead_and_which_channels_had_the_answer(evaluated: Make) -> None:
    said = text_of(render(evaluated()))
    worst = said.split("The worst queries")[1].split("Speed")[0]
    assert "rank not found" in worst and "instead function_" in worst and "found by none of lexical, dense" in worst
    assert "rank 14, beyond the first 10" in worst and "lexical at 15, dense at 16" in worst


def test_what_is_left_out_is_there_with_its_reason_and_an_example(evaluated: Make) -> None:
    said = text_of(
        render(evaluated(files=[("a.py", None), ("logo.png", "binary"), ("icon.png", "binary"), ("b.py", "too_large")]))
    )
    assert "binary 2 2.0 kB icon.png" in said and "too large 1 1.0 kB b.py" in said


def test_an_index_that_was_not_evaluated_has_a_page_that_says_so(evaluated: Make, world: Any) -> None:
    nothing = Share(part=0, whole=0)
    coverage = world.coverage_document(found=nothing, missed={}, by_language={}, by_kind={}, by_channel={})
    said = text_of(render(evaluated(metrics=world.off(), coverage=coverage)))
    assert "This index was not evaluated" in said and "The worst queries" not in said and "How it was made" in said


def test_a_repository_of_one_file_has_a_page(evaluated: Make, world: Any) -> None:
    one = Share(part=1, whole=1)
    coverage = world.coverage_document(files=one, bytes=one, definitions=one, found=one, skipped={}, missed={})
    rows = [world.module_row("", 1, 1), world.module_row("a.py", 1, 1)]
    said = text_of(render(evaluated(files=[("a.py", None)], coverage=coverage, modules=rows)))
    assert "1 of 1 file is indexed" in said and "Nothing is left out." in said


def test_a_repository_without_definitions_has_a_page(evaluated: Make, world: Any) -> None:
    none = Share(part=0, whole=0)
    coverage = world.coverage_document(definitions=none, found=none, missed={}, by_language={}, by_kind={}, by_channel={})
    assert "No definitions are known" in text_of(render(evaluated(coverage=coverage, modules=[])))


def test_thousands_of_folders_are_cut(evaluated: Make, world: Any) -> None:
    folders = [f"f{number:04d}/" for number in range(5000)]
    modules = [world.module_row("", 500_000, 200_000), *(world.module_row(folder) for folder in folders)]
    figures = {folder: world.figures(0.5, 20) for folder in folders}
    page = render(evaluated(modules=modules, metrics=world.metrics_document(by_module=figures)))
    assert "and 4,985 more folders" in text_of(page) and len(page) < 200_000


def test_a_broken_channel_is_bad_news(evaluated: Make, world: Any) -> None:
    page = render(evaluated(metrics=world.metrics_document(broken={"dense": "the model server does not answer"})))
    assert "A channel is broken. dense : the model server does not answer" in text_of(page)
    assert "dense broken" in text_of(page).split("Channels")[1]


def test_an_exact_index_has_no_curve(evaluated: Make) -> None:
    said = text_of(render(evaluated(exact=True)))
    assert "The vector index is exact: it finds every nearest vector" in said and "operating points" not in said


def test_operating_points_have_their_cost_and_the_observed_time(evaluated: Make) -> None:
    seen = [{"parameters": "nprobe=24", "k_factor": 2.0, "median_ms": 1.42}]
    said = text_of(render(evaluated(measured={"search_latency": {"points": seen}})))
    assert "nprobe=24, k-factor 2 (in use) 7,200 1.4 ms 0.992" in said and "vectors scored for a query" in said


def test_figures_of_tokens_are_there_where_the_channel_is_on(evaluated: Make, world: Any) -> None:
    said = text_of(render(evaluated(metrics=world.metrics_document(tokens=world.token_oracle()))))
    assert "exact comparison of all tokens 80.0 % 0.600" in said
    assert "Token by token" not in text_of(render(evaluated()))


def entry(world: Any, number: int, **changes: Any) -> Entry:
    known = {"chunks": 100 * number, "method": 1, "k": 10, "queries": 400, "quality": world.figures(0.5 + number / 100)}
    return Entry(f"v-{number:016x}", False, 1.7e9 + number, **{**known, **changes})


def test_history_leaves_out_figures_of_another_method(evaluated: Make, world: Any) -> None:
    known = [entry(world, 1), entry(world, 2, method=0, quality=world.figures(0.99)), entry(world, 3)]
    page = render(evaluated(history=known, version=None))
    history = page.split("<h2>History</h2>")[1].split("</section>")[0]
    assert "0.510" in history and "0.530" in history and "0.990" not in history
    assert history.count("<svg") >= 2 and "this one" in history


def test_this_version_is_once_in_the_history(evaluated: Make, world: Any) -> None:
    known = [entry(world, 1), entry(world, 2)]
    page = render(evaluated(history=known, version=known[0].version))
    assert page.split("<h2>History</h2>")[1].split("</section>")[0].count(f"<strong>{known[0].version}</strong>") == 1
    assert "The 2 versions" in text_of(page)


def test_times_are_shown_where_they_are_known_and_whatever_they_look_like(evaluated: Make) -> None:
    stages = {"whole": {"median_ms": 7.7, "p95_ms": 16.9}, "lexical": {"median_ms": 2.1, "p95_ms": 4.0}, "odd": 3}
    slowest = [{"query": "what moors a ship", "ms": 31.4, "most": "lexical 22.10 ms"}, {"ms": 1}, 5]
    said = text_of(render(evaluated(measured={"search_latency": {"stages": stages, "slowest": slowest}})))
    assert "lexical 2.1 ms 4.0 ms whole 7.7 ms 17 ms" in said and "what moors a ship 31 ms lexical 22.10 ms" in said
    assert "Not known" in text_of(render(evaluated(measured={"search_latency": []})))


def test_settings_that_are_not_as_they_come_are_named(evaluated: Make) -> None:
    changed = {**Settings().recorded(), "dense_weight": 0.2, "include": ["src/"]}
    said = text_of(render(evaluated(settings=changed)))
    assert "dense_weight = 0.2 instead of 0.7" in said and 'include = ["src/"] instead of []' in said


def test_equal_inputs_give_equal_bytes(evaluated: Make, world: Any) -> None:
    subject = evaluated(history=[entry(world, 1)], checks=[Checked(name="fine")])
    assert render(subject) == render(subject)


def test_the_page_loads_nothing(evaluated: Make) -> None:
    page = _Page(render(evaluated()))
    policy = next(given for tag, given in page.found if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not {"script", "link", "img", "iframe", "object", "a", "base"} & {tag for tag, _ in page.found}
    assert not re.search(r"https?:|//[a-z]|@import|url\(", render(evaluated()))


def test_the_page_can_be_listened_to(evaluated: Make) -> None:
    page = _Page(render(evaluated()))
    tags = [tag for tag, _ in page.found]
    assert tags.count("h1") == 1 and tags.count("table") == tags.count("caption")
    assert all(given.get("role") == "img" for tag, given in page.found if tag == "svg")
    assert tags.count("svg") <= render(evaluated()).count('role="img"><title>')
    assert all(given.get("scope") for tag, given in page.found if tag == "th")


EVIL = "<script>alert('x')</script>\"&amp;'"


def test_nothing_of_a_repository_is_read_as_markup(evaluated: Make, world: Any) -> None:
    folder = f"{EVIL.replace('/', '')}/"
    uri = f"{folder}{'deep' * 100}\u202e\u0007.py"
    subject = evaluated(
        files=[(uri, None), (f"{EVIL}.png", EVIL)], texts=[f"{EVIL}\u202egnp.exe\x1b[31m"], repository=EVIL,
        modules=[world.module_row("", 200, 80), world.module_row(folder), world.module_row("b\" onload=\"x/")],
        metrics=world.metrics_document(
            by_module={folder: world.figures(0.5, 50), "b": world.figures(0.4, 50)}, by_label={EVIL: world.figures(0.5)},
            by_language={EVIL: world.figures(0.5), "b": world.figures(0.4)}, broken={EVIL: EVIL},
        ),
        coverage=world.coverage_document(missed={EVIL: 3}, by_kind={EVIL: Share(part=1, whole=2)}),
        checks=[Checked(name=EVIL, problems=(EVIL,))], tools={EVIL: "\ud800"},
        settings={**Settings().recorded(), "embedder": EVIL},
        history=[entry(world, 1, problem=EVIL), entry(world, 2, allowed={EVIL: [EVIL]})], before=EVIL,
        comparison=Comparison(incomparable=EVIL),
        measured={"search_latency": {"stages": {EVIL: {}}, "slowest": [{"query": EVIL, "ms": 1}]}},
    )  # fmt: skip
    rendered = render(subject)
    page = _Page(rendered)
    assert not any(tag == "script" or "onload" in given for tag, given in page.found)
    assert rendered.count("&lt;script&gt;") > 15
    assert "\u202e" not in rendered and "\x1b" not in rendered and "\\u{202e}" in rendered and "\\u{d800}" in rendered
    assert max(len(word) for word in text_of(rendered).split()) < 500
    rendered.encode()


def test_recall_is_drawn_over_time_where_the_time_of_every_point_is_known(evaluated: Make) -> None:
    grid = [(probe, factor) for probe in (4, 8, 24, 64) for factor in (1.0, 2.0)]
    seen = [{"parameters": f"nprobe={probe}", "k_factor": factor, "median_ms": probe * factor / 100} for probe, factor in grid]
    page = render(evaluated(measured={"search_latency": {"points": seen}}))
    assert "milliseconds of a vector search, as observed" in page and "vectors scored for a query" not in page


def test_settings_that_were_written_and_such_that_were_not_are_the_same() -> None:
    assert changed_settings({"include": [], "exclude": ["a"]}, {"include": (), "exclude": ("a",)}) == ()
