"""The page in real Chromium, each scenario over http and from a file: what a person would do."""

import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import uvicorn

from spct.measure.ranking import rank, ranking_json
from spct.view.api import create_app
from spct.view.export import export
from spct.view.run import RunView
from tests.view.runs import BY_CRITERIA, HOSTILE, a_run, checked, judged, write_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WIDTHS, SCHEMES = (360, 1024, 1600), ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, installed where it is missing; never a download of Playwright's own."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=True)
        path = shutil.which("chromium")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """axe-core from the npm registry, for accessibility."""
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run(["npm", "pack", "--silent", "axe-core@4.10.2"], cwd=folder, check=True)
    archive = next(folder.glob("*.tgz"))
    subprocess.run(["tar", "xzf", archive.name, "package/axe.min.js"], cwd=folder, check=True)
    return (folder / "package" / "axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    long = judged("long", [(9.0, 1.0)], query="A long line?", responses=("z" * 100_000, "b"))
    hostile = judged(
        f"h {HOSTILE}",
        [(9.0, 1.0), "no_verdict"],
        gold=(1.0, 0.0),
        query=HOSTILE,
        responses=(HOSTILE, "plain"),
        text=HOSTILE,
        subset=HOSTILE,
    )
    a_run(root / "first")
    write_run(root / "second", [judged("right", [(1.0, 9.0)] * 2, gold=(1.0, 0.0)), long, hostile])
    tables = [[[1, 1, 0], [0, 0, 1]], [[1, 0.5, 0], [0, 1, 1]], [[1, 1, 0], None]]
    write_run(root / "third", [checked("burn", tables, text=HOSTILE, gold=(1.0, 0.0))], BY_CRITERIA)
    names = ("first", f"second {HOSTILE}", "third")
    views = [RunView(root / name.split()[0], name) for name in names]
    for view in views:
        view.index.follow()
    return views


@pytest.fixture(scope="module")
def ranking():
    """Of two systems, as `spct view` hands it on; the first wins three of four."""
    meta = {"systems": ["alpha", f"beta {HOSTILE}"]}
    scores = [(9.0, 1.0), (8.0, 2.0), (7.0, 3.0), (1.0, 9.0)]
    pairs = [judged(f"s{i}", [s], query=f"q{i}", meta=meta) for i, s in enumerate(scores)]
    return dict(ranking_json(rank(pairs, resamples=50)))


@pytest.fixture(scope="module")
def addresses(runs, ranking, tmp_path_factory):
    """The page's address by source."""
    page = tmp_path_factory.mktemp("page") / "page.html"
    export(runs, page, ranking=ranking)
    app = create_app(runs, ranking=ranking)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield {"http": f"http://127.0.0.1:{port}/", "file": page.as_uri()}
    server.should_exit = True
    thread.join(10)


@pytest.fixture(params=["http", "file"])
def page(request, browser, addresses):
    """A new tab at the list; it fails on any error of the page's scripts."""
    context = browser.new_context(viewport={"width": 1024, "height": 900})
    context.set_default_timeout(60_000)  # CI has two cores, and others at work on them
    tab = context.new_page()
    problems = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    tab.goto(addresses[request.param])
    tab.wait_for_selector("table.list tbody tr")
    tab.is_http = request.param == "http"
    yield tab
    context.close()
    assert problems == []


def until(page, condition, seconds=60):
    """Wait for a condition in the page; evaluated from outside, for its policy refuses eval."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"never true: {condition}"
        page.wait_for_timeout(50)


def heads(page):
    return page.locator("table.list tbody tr td.wide a").all_inner_texts()


def test_the_list_filters_sorts_and_links(page):
    assert len(heads(page)) == 6
    page.get_by_label("verdict").select_option("wrong")
    until(page, "document.querySelectorAll('table.list tbody tr').length === 2")
    assert heads(page) == ["Which lake?", "Why?"]
    address = page.url
    page.get_by_role("button", name="margin").click()
    until(page, "location.hash.includes('sort=margin')")
    until(page, "document.querySelector('td.wide a').innerText === 'Why?'")
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("margin")
    page.goto(address)  # a deep link brings the filter back
    until(page, "document.querySelectorAll('table.list tbody tr').length === 2")


def test_an_example_shows_why(page):
    page.get_by_role("link", name="Which lake?").click()
    page.wait_for_selector(".lane")
    text = page.locator("main").inner_text()
    assert "2 of 10" in text and "7 of 10" in text and "✗ wrong" in text
    assert page.locator(".response.best h3").inner_text().startswith("Response 2")
    assert page.locator(".lane").count() == 4
    assert page.locator(".lane mark.missing").first.inner_text() == "never said this"
    assert page.locator(".lane mark.found").count() >= 4
    page.locator(".lane summary").first.click()
    assert "Judge Which lake?" in page.locator(".lane pre").first.inner_text()
    assert page.get_by_label("orders").get_by_role("row").count() == 3


def test_criteria_are_rows_with_every_vote_and_the_gates_marked(page):
    page.goto(f"{page.url.split('#')[0]}#/run/2/burn")
    page.wait_for_selector("table.criteria")
    rows = page.locator("table.criteria tbody tr").all_inner_texts()
    cooling, doctor, butter, total, reward = [" ".join(row.split()) for row in rows]
    assert "required" in cooling and "●●●" in cooling and "○○∅ gate failed" in cooling
    assert "graded" in doctor and "0.833 ●◐●" in doctor and "0.5 ○●∅" in doctor
    assert "pitfall" in butter and "0 ○○○" in butter and "1 ●●∅" in butter
    assert "0.938" in total and "-0.312" in total and "below all that pass" in reward
    assert page.locator(".response .tag.gate").all_inner_texts() == ["gated"]
    lanes = page.locator(".lane")
    assert lanes.count() == 3 and "unscored: no_verdict" in lanes.nth(2).inner_text()
    lanes.first.locator("summary").click()
    raw = lanes.first.inner_text()
    assert "raw reply 0 on 1" in raw and "raw reply 0 on 2" in raw
    assert "response 2: butter, doctor, cooling" in raw
    assert page.evaluate("window.pwned") is None


def test_the_keyboard_alone_is_enough(page):
    page.keyboard.press("j")
    page.wait_for_selector("tr.chosen:nth-child(2)")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('wrong')")
    page.keyboard.press("j")
    page.wait_for_selector("h1:has-text('tied')")
    page.keyboard.press("k")
    page.wait_for_selector("h1:has-text('wrong')")
    page.keyboard.press("Escape")
    page.wait_for_selector("table.list")
    page.keyboard.press("/")
    page.keyboard.type("lake")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('table.list tbody tr').length === 1")


def test_what_is_typed_stays_when_the_list_is_drawn_anew(page):
    page.get_by_label("text").focus()
    page.keyboard.type("la")
    page.evaluate("dispatchEvent(new Event('hashchange'))")
    page.wait_for_timeout(200)
    page.keyboard.type("ke")
    assert page.get_by_label("text").input_value() == "lake"
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('table.list tbody tr').length === 1")


def test_flips_are_marked_and_unscored_samples_say_why(page):
    page.get_by_label("orders disagree").check()
    until(page, "document.querySelectorAll('table.list tbody tr').length === 1")
    page.locator("td.wide a").click()
    page.wait_for_selector(".lane")
    assert page.get_by_label("orders").locator(".flip").count() == 1
    page.goto(f"{page.url.split('#')[0]}#/run/0/lost")
    page.wait_for_selector("h1:has-text('lost')")
    assert "unscored: truncated" in page.locator(".lane").first.inner_text()


def test_a_persons_verdict_is_kept_or_refused(page, runs):
    page.goto(f"{page.url.split('#')[0]}#/run/0/right")
    page.wait_for_selector(".lane")
    if not page.is_http:
        assert page.get_by_label("your verdict").count() == 0
        return
    page.keyboard.press("1")
    page.wait_for_selector("button[aria-pressed=true]")
    assert runs[0].marks.read()["right"]["mark"] == 0
    page.keyboard.press("t")
    page.wait_for_selector("button[aria-pressed=true]:has-text('tie')")
    until(page, "document.body.innerText.includes('you agree in 0% of 1')")


def test_two_runs_show_what_changed(page):
    page.get_by_role("link", name="compare").click()
    page.wait_for_selector("h1:has-text('Two runs')")
    page.wait_for_selector("table.list tbody tr")
    assert "1 verdict differs" in page.locator("main").inner_text()


def test_figures_have_plots_and_tables(page):
    page.get_by_role("link", name="figures").click()
    page.wait_for_selector("figure canvas")
    assert page.locator("figure").count() >= 2
    page.locator("figure summary").first.click()
    assert page.locator("figure details table").first.get_by_role("row").count() >= 3


def test_systems_are_ranked_by_the_verdicts_on_their_answers(page):
    page.get_by_role("link", name="systems").click()
    page.wait_for_selector("main table")
    rows = page.locator("main table tbody tr").all_inner_texts()
    assert rows[0].startswith("alpha") and "75.0" in rows[0]
    assert rows[1].startswith("beta <script>") and "25.0" in rows[1]
    assert page.evaluate("window.pwned") is None


def test_a_hostile_run_runs_no_script(page):
    """Every screen of texts that try: none of them sets the flag, moves the page or vanishes."""
    base = page.url.split("#")[0]
    page.goto(f"{base}#/run/1")
    until(page, "document.querySelectorAll('table.list tbody tr').length === 3")
    page.locator("td.wide a").last.click()
    page.wait_for_selector(".lane")
    text = page.locator("main").inner_text()
    assert "<script>window.pwned = 1</script>" in text
    assert "⟨U+001B⟩" in text and "⟨U+202E⟩" in text and "⟨U+D800⟩" in text
    assert page.evaluate("window.pwned") is None


def test_the_policy_refuses_a_script_that_something_managed_to_insert(browser, addresses):
    for address in addresses.values():
        tab = browser.new_page()
        tab.goto(address)
        tab.wait_for_selector("table.list tbody tr")
        tab.evaluate(
            "document.body.append(Object.assign(document.createElement('div'), {innerHTML: "
            "'<img src=x onerror=\"window.pwned = 2\">'}))"
        )
        tab.wait_for_timeout(300)
        assert tab.evaluate("window.pwned") is None
        tab.close()


def test_a_very_long_line_is_clipped_until_asked_for(page):
    page.goto(f"{page.url.split('#')[0]}#/run/1/long")
    page.wait_for_selector(".lane")
    prose = page.locator(".response .prose").first
    assert len(prose.inner_text()) < 7000
    prose.get_by_role("button").click()
    until(page, "document.querySelector('.response .prose').innerText.length === 100000")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1024


@pytest.mark.parametrize("source", ["http", "file"])
def test_no_serious_finding_of_axe_at_any_width(browser, addresses, axe, source, tmp_path):
    shots = Path(tmp_path)
    for scheme in SCHEMES:
        for width in WIDTHS:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
            )
            tab = context.new_page()
            for screen in (
                "#/run/0",
                "#/run/0/flips",
                "#/run/2/burn",
                "#/figures/0",
                "#/compare/0/1",
                "#/rank",
            ):
                tab.goto(addresses[source] + screen)
                tab.reload()
                tab.wait_for_selector("main table")
                tab.evaluate(axe)
                found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
                serious = [
                    (v["id"], [n["html"][:200] for n in v["nodes"]][:3])
                    for v in found["violations"]
                    if v["impact"] in ("serious", "critical")
                ]
                assert serious == [], json.dumps(serious, indent=1)
                wide = tab.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{screen} scrolls sideways at {width}"
                name = screen.strip("#/").replace("/", "-")
                tab.screenshot(path=shots / f"{name}-{scheme}-{width}.png", full_page=True)
            context.close()
    assert len(list(shots.glob("*.png"))) == 36
