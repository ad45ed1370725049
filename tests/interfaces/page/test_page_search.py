"""Searching in the page, in a real browser against the real service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLES = "[...document.querySelectorAll('.hit .name')].map((one) => one.innerText)"


def _search(page: Any, site: str, query: str) -> None:
    page.open(site)
    page.until("document.querySelector('.welcome')")
    page.type(query)
    page.until("document.querySelector('.hit')")


def test_results_come_while_one_types_and_the_address_gives_them_again(page: Any, site: str) -> None:
    _search(page, site, "berth fee")
    page.until(f"{TITLES}.includes('berth_fee')")
    page.until("document.querySelector('.hit mark')")
    assert "def berth_fee(length: float" in page.text(".hit pre")
    assert page.run("location.search") == "?q=berth+fee"

    page.open(page.run("location.href"))

    page.until(f"{TITLES}.includes('berth_fee')")
    assert page.run("document.querySelector('#query').value") == "berth fee"


def test_a_late_answer_to_what_was_typed_before_is_never_shown(page: Any, site: str) -> None:
    page.send(
        "Page.addScriptToEvaluateOnNewDocument",
        source="""const real = fetch; window.late = 0; window.fetch = async (url, options) => {
            if (new URL(url).searchParams.get('query') !== 'tide') return real(url, options);
            const answer = await real(url, { ...options, signal: undefined });  // As if it could not be stopped.
            await new Promise((done) => { window.release = done; });
            window.late += 1;
            return answer; }""",
    )
    page.open(site)
    page.until("document.querySelector('.welcome')")
    page.type("tide")
    page.until("window.release")
    page.run("document.querySelector('#query').select()")
    page.type("renderQuay")
    page.until(f"{TITLES}[0] === 'renderQuay'")

    page.run("release()")
    page.until("window.late === 1")
    page.run("new Promise((done) => setTimeout(done, 300))")

    assert page.run(f"{TITLES}[0]") == "renderQuay"


def test_keys_alone_find_open_read_and_close(page: Any, site: str) -> None:
    _search(page, site, "ship")
    page.press("Enter")
    first = page.until("document.activeElement.closest('.hit')?.dataset.id")
    page.press("j")
    second = page.run("document.activeElement.closest('.hit').dataset.id")
    assert second != first
    page.press("k", "ArrowDown", "Enter")
    page.until(f"new URLSearchParams(location.search).get('open') === '{second}' && document.querySelector('.view pre')")
    page.press("2")
    page.until("document.querySelector('[role=tab][aria-selected=true]').innerText === 'Why'")
    assert "lexical" in page.text(".view")

    page.press("k")  # What is open follows.
    page.until(f"new URLSearchParams(location.search).get('open') === '{first}'")
    page.press("Escape")

    page.until("document.querySelector('#panel').hidden")
    assert page.run("document.activeElement.closest('.hit').dataset.id") == first
    page.press("/")
    assert page.run("document.activeElement.id") == "query"
    page.press("Escape", "?")
    page.until("document.querySelector('#help').open")
    assert "Copy path and line" in page.text("#help")


def test_filters_are_chips_that_the_address_and_the_back_button_know(page: Any, site: str) -> None:
    _search(page, site, "ships")
    page.until(f"{TITLES}.includes('renderQuay')")
    page.click("[data-filter=lang]")
    page.click("input[value=python]")
    page.until(f"location.search.includes('lang=python') && !{TITLES}.includes('renderQuay') && {TITLES}.length")
    page.press("Escape")
    page.until("document.querySelector('.filter.set')?.innerText.includes('python')")

    page.run("history.back()")

    page.until(f"!document.querySelector('.filter.set') && {TITLES}.includes('renderQuay')")
    page.click("[data-filter=path]")
    page.until("document.activeElement.placeholder === 'src/**/*.py'")
    page.type("web/**")
    page.press("Enter")
    page.until(f"location.search.includes('path=web') && {TITLES}.every((name) => name !== 'Ship') && {TITLES}.length")
    page.click(".filter.set")
    page.until(f"!location.search.includes('path') && {TITLES}.includes('Ship')")


def test_when_nothing_is_found_the_page_offers_to_drop_the_filters(page: Any, site: str) -> None:
    page.open(f"{site}?q=berth+fee&lang=sql")
    page.until("document.querySelector('.message')?.innerText.includes('Nothing found')")

    page.click(".message button")

    page.until(f"{TITLES}.includes('berth_fee')")


def test_what_is_open_tells_why_what_calls_it_and_where_it_lies(page: Any, site: str, harbour: tuple[Path, Path]) -> None:
    _search(page, site, "berth_fee")
    page.click(".hit a.title")
    page.until("document.querySelector('.view pre')")
    assert page.text(".panel-head .place .path") == "harbour/fees.py:1"
    page.run("getSelection().selectAllChildren(document.querySelector('.view pre'))")
    assert page.run("getSelection().toString().trimEnd()") == (harbour[0] / "harbour/fees.py").read_text().rstrip()
    page.click("#tab-why")
    page.until("document.querySelector('.view .sum')")
    total = page.run("document.querySelector('.view .sum strong').firstChild.textContent")
    hit = page.run("fetch('search?query=berth_fee').then((a) => a.json()).then((a) => a.results[0].score.toFixed(3))")
    assert total == hit
    page.click("#tab-symbols")
    page.until("document.querySelector('.view .symbol')?.innerText.includes('Defined')")
    page.click("#tab-related")
    page.until("document.querySelector('.view .rows .row')")
    page.click("#tab-file")
    page.until("[...document.querySelectorAll('.view .line.focused')].some((line) => line.innerText.includes('def berth_fee'))")
    assert '"""Money."""' in page.text(".view")
    page.run("history.back()")
    page.until("document.querySelector('[role=tab][aria-selected=true]').innerText === 'Related'")


def test_path_and_line_can_be_copied(page: Any, site: str) -> None:
    page.send("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    _search(page, site, "berth_fee")
    page.press("Enter", "Enter")
    page.until("document.querySelector('.view pre')")
    page.press("c")
    page.until("document.querySelector('#spoken').innerText === 'Copied harbour/fees.py:1'")


def test_quality_shows_what_the_service_says(page: Any, site: str) -> None:
    page.open(f"{site}?view=quality")
    page.until("document.querySelector('.quality')")
    figures = page.run("fetch('quality').then((answer) => answer.json())")

    shown = page.text(".quality")

    assert figures["version"] in shown
    assert f"{figures['evaluation']['metrics']['fused']['ndcg']['mean']:.3f}" in shown
    found = figures["coverage"]["found"]
    assert f"{found['part']} of {found['whole']}" in shown
    assert page.count(".quality svg.whisker") > 4
    page.press("q")
    page.until("document.querySelector('.welcome')")


def test_on_a_phone_nothing_is_wider_than_the_screen(page: Any, site: str) -> None:
    page.resize(390, 844)
    for address in ("", "?q=ship", "?q=comment&open=", "?view=quality"):
        page.open(site + address)
        page.until("document.querySelector('.welcome, .hit, .quality')")
        assert page.run("Math.max(document.documentElement.scrollWidth, document.querySelector('main').scrollWidth)") <= 390
    page.open(f"{site}?q=berth_fee")
    page.click(".hit a.title")
    page.until("document.querySelector('.view pre')")
    assert page.run("document.querySelector('#panel').getBoundingClientRect().width") == 390
    page.click("#close")
    page.until("document.querySelector('#panel').hidden && !document.querySelector('main').inert")


def test_an_earlier_version_can_be_searched(page: Any, world: Any, serving: Callable[..., Any]) -> None:
    earlier = world.version
    (world.repo / "harbour/fees.py").write_text("def pilot_fee():\n    return 7\n")
    assert world.build().code == 0
    with serving(world.store) as address:
        page.open(f"{address}?q=berth_fee+pilot_fee")
        page.until(f"{TITLES}.includes('pilot_fee') && document.querySelectorAll('[aria-label=Version] option').length === 2")
        assert not page.run(f"{TITLES}.includes('berth_fee')")
        page.run(
            "((picker) => { picker.selectedIndex = 1; picker.dispatchEvent(new Event('change')); })"
            "(document.querySelector('[aria-label=Version]'))"
        )
        page.until(f"{TITLES}.includes('berth_fee') && !{TITLES}.includes('pilot_fee')")
        assert page.run("new URLSearchParams(location.search).get('version')") == earlier
        page.press("Escape", "q")
        page.until("document.querySelector('.quality h2')")
        assert earlier in page.text(".quality h2")
        assert page.count("svg.history circle") == 2
