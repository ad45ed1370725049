"""What the page does with hostile code, and when something is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

LANGUAGES = (
    "bash c cpp csharp css dart dockerfile elixir go haskell hcl html java javascript json julia kotlin lua markdown php "
    "python r ruby rust scala sql swift text toml tsx typescript yaml zig constructor"
)
AWKWARD = (
    "", '"' * 3000, "'a\\", "/*" * 3000, "<!--", "`${`", '"""\\', "#", "a." * 20000, "a-" * 20000, "é 日本 𝒳 = 0x", "\r\n\t@",
    '<a b="c',
    "\ud800", '{"a" : 1}', "#include <a>\n # define b", "@a.b(1e5)",
)  # fmt: skip
"""Never closed, never ended, or long of what is read twice."""


def test_hostile_code_and_names_stay_text(page: Any, site: str) -> None:
    for query, said in (("renderComment", "</textarea></pre></script><script>"), ("hostile_name", "<i>with a name</i>")):
        page.open(f"{site}?q={query}")
        page.until("document.querySelector('.hit mark')")
        assert said in page.text(".hit pre")
        page.press("Enter", "Enter")
        for tab in ("code", "why", "symbols", "related", "file"):
            page.click(f"#tab-{tab}")
            page.until(f"document.querySelector('#tab-{tab}').getAttribute('aria-selected') === 'true'")
            assert page.count("main script, main img, main b, main i, #panel script, #panel img, #panel b, #panel i") == 0
        assert said in page.text(".view")
        assert page.run("document.title").startswith(query)
    assert "odd/<b onclick=alert(1)>bold.py" in page.text(".hit .path")


def test_characters_that_turn_code_around_are_spelt_out(page: Any, site: str) -> None:
    page.open(f"{site}?q=turned_access")
    page.until("document.querySelector('.hit .odd')")

    assert 'level != "userU+202EU+2066# adminU+2069"' in page.text(".hit pre")


def test_nothing_is_fetched_from_elsewhere(page: Any, site: str) -> None:
    page.open(f"{site}?q=ship")
    page.until("document.querySelector('.hit')")

    names = page.run("performance.getEntriesByType('resource').map((one) => one.name)")

    assert names
    assert all(name.startswith(site) for name in names)


def test_colouring_never_changes_the_text(page: Any, site: str) -> None:
    page.open(site)
    changed = page.run(
        f"""import('./static/highlight.js').then(({{ tokens }}) => {json.dumps(LANGUAGES.split())}.filter((lang) =>
            {json.dumps(AWKWARD)}.some((text) => tokens(text, lang).map(([, part]) => part).join('') !== text)))"""
    )
    assert changed == []


def test_an_index_that_is_behind_says_so(
    page: Any, harbour: tuple[Path, Path], serving: Callable[..., Any], tmp_path: Path
) -> None:
    repo, store = tmp_path / "demo", tmp_path / "store"
    shutil.copytree(harbour[0], repo, symlinks=True)
    shutil.copytree(harbour[1], store, symlinks=True)
    origin = store / "demo" / "repository.json"
    origin.write_text(origin.read_text().replace(str(harbour[0]), str(repo)))
    (repo / "harbour/fees.py").write_text("CHANGED = True\n")
    with serving(store) as address:
        page.open(f"{address}?q=ship")
        page.until("document.querySelector('.notice.stale')")
        assert "changed by 1 file" in page.text(".notice.stale")
        assert "indexctl build" in page.text(".notice.stale")


def test_a_wrong_version_is_told_with_what_to_do(page: Any, site: str) -> None:
    page.open(f"{site}?q=ship&version=v-nothing")
    page.until("document.querySelector('.failed')")
    said = page.run("fetch('search?query=ship&version=v-nothing').then((answer) => answer.json())")["error"]
    assert said["message"] in page.text(".failed")
    page.errors.clear()  # The browser logs each answer that is a refusal.


def _copied(harbour: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    """A copy of the store, to be damaged, and the folder of its published version."""
    store = folder / "store"
    shutil.copytree(harbour[1], store, symlinks=True)
    return store, store / "demo" / "versions" / (store / "demo" / "CURRENT").read_text().strip()


def _cut(file: Path) -> None:
    """Take the last byte away, without touching other links to the file."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-1])


def test_a_channel_that_cannot_answer_is_told_above_what_the_others_found(
    page: Any, harbour: tuple[Path, Path], serving: Callable[..., Any], tmp_path: Path
) -> None:
    store, published = _copied(harbour, tmp_path)
    with serving(store) as address:
        page.open(address)
        page.until("document.querySelector('.welcome')")
    _cut(published / "faiss.index")
    with serving(store, "--port", address.rstrip("/").rpartition(":")[2]):
        page.open(f"{address}?q=berth+fee")
        page.until("document.querySelector('.hit')")
        said = page.until(
            "[...document.querySelectorAll('.notice')].map((one) => one.innerText).find((one) => one.includes('dense'))"
        )
        assert "The channel dense did not answer" in said and "Results may be worse" in said
        reason = page.run("fetch('search?query=berth+fee').then((answer) => answer.json())")["channels"]["dense"]["reason"]
        assert "faiss.index" in reason and f"{reason.replace('`', '')} Results may be worse." in said
    page.errors.clear()  # While nothing listened.


def test_an_index_that_cannot_be_read_is_told_with_what_to_do_and_asked_again(
    page: Any, harbour: tuple[Path, Path], serving: Callable[..., Any], tmp_path: Path
) -> None:
    store, published = _copied(harbour, tmp_path)
    with serving(store) as address:
        whole = published.rename(tmp_path / "whole")
        shutil.copytree(whole, published, symlinks=True)
        (published / "manifest.json").unlink()
        (published / "manifest.json").write_text("{")
        page.open(f"{address}?q=berth+fee")
        page.until("document.querySelector('.failed')?.innerText.includes('Nothing can be searched now.')")
        status, answer = page.run("fetch('search?query=berth+fee').then(async (one) => [one.status, await one.json()])")
        assert (status, answer["error"]["code"]) == (503, "unavailable")
        told = page.text(".failed")
        assert answer["error"]["message"] in told
        assert told.count(answer["error"]["hint"].replace("`", "")) == 1
        assert "build PATH" not in told
        shutil.rmtree(published)
        whole.rename(published)
        page.click(".failed button")
        page.until("document.querySelector('.hit')")
        page.errors.clear()  # The browser logs each answer that is a refusal.


def test_a_chunk_that_is_gone_leaves_the_results_usable(page: Any, site: str) -> None:
    page.open(f"{site}?q=berth_fee&open=1")
    page.until("document.querySelector('#panel .failed') && document.querySelector('.hit')")
    page.errors.clear()
    page.click(".hit a.title")
    page.until("document.querySelector('#panel .view pre')")


def test_a_service_that_went_away_is_told_and_can_be_asked_again(
    page: Any, harbour: tuple[Path, Path], serving: Callable[..., Any]
) -> None:
    with serving(harbour[1]) as address:
        page.open(address)
        page.until("document.querySelector('.welcome')")
    page.type("berth fee")
    page.until("document.querySelector('.failed')?.innerText.includes('does not answer')")
    assert "indexctl serve" in page.text(".failed")
    with serving(harbour[1], "--port", address.rstrip("/").rpartition(":")[2]):
        page.click(".failed button")
        page.until("document.querySelector('.hit')")
    page.errors.clear()


def test_a_slow_answer_says_that_it_is_slow(page: Any, site: str) -> None:
    page.send(
        "Page.addScriptToEvaluateOnNewDocument",
        source="""const real = fetch; window.fetch = async (url, options) => {
            if (new URL(url).pathname === '/search') await new Promise((done) => { window.release = done; });
            return real(url, options); }""",
    )
    page.open(f"{site}?q=ship")
    page.until("document.querySelector('#slow') && !document.querySelector('#progress').hidden")
    page.run("release()")
    page.until(
        "document.querySelector('.hit') && !document.querySelector('#slow') && document.querySelector('#progress').hidden"
    )


def test_a_token_is_asked_for_until_it_is_right_and_kept_for_the_tab(
    page: Any, harbour: tuple[Path, Path], serving: Callable[..., Any], tmp_path: Path
) -> None:
    secret = tmp_path / "token"
    secret.write_text("a-token-of-more-than-sixteen\n")
    secret.chmod(0o600)
    with serving(harbour[1], "--token-file", str(secret)) as address:
        page.open(f"{address}?q=berth+fee")
        page.until("document.querySelector('#token').open")
        page.type("wrong")
        page.press("Enter")
        page.until("document.querySelector('#token h2').innerText.includes('did not take')")
        page.type(secret.read_text().strip())
        page.press("Enter")
        page.until("document.querySelector('.hit')")
        assert "token" not in page.run("location.href")
        page.errors.clear()

        page.open(f"{address}?q=tide")
        page.until("document.querySelector('.hit')")
        assert not page.run("document.querySelector('#token').open")


def test_without_an_index_the_page_says_how_to_make_one(
    page: Any, serving: Callable[..., Any], tmp_path: Path, built: Any
) -> None:
    store = tmp_path / "store"
    shutil.copytree(built.store, store, symlinks=True)
    shutil.rmtree(store / "demo")
    with serving(store) as address:
        page.open(address)
        page.until("document.querySelector('.failed')")
        assert "indexctl build" in page.text(".failed")


def test_an_address_that_somebody_made_up_is_told_and_asks_for_nothing_else(page: Any, site: str) -> None:
    page.open(f"{site}?file=../../status&line=-1&tab=__proto__&open=abc&kind=constructor")
    page.until("document.querySelector('#panel .failed')?.innerText.includes('no such path')")
    asked = page.run("performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)")
    assert asked.count("/status") == 1
