"""Dagster's own pages over a home of ours, driven by a headless browser as a person would.

A small shop is simulated and six of its days are built; the eighth is spoilt, so that it is refused. What is expected
on a page is what the contract, the lake or the event log says, not what the page happened to show once.

The picture of the README is taken of a home with everything built:
`SCREENSHOTS_OF=<home> pytest insight_assets_tests/ui`
"""

import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.lake import Lake
from insight_assets_tests.flows.shop import Home

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
expect = playwright.expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path (Debian: apt install chromium)"),
]

ROOT = Path(__file__).parents[2]
SCREENSHOTS_OF = os.environ.get("SCREENSHOTS_OF")
LINEAGE_PICTURE = Path(__file__).parent / "lineage.png"
MAX_PICTURE_BYTES = 250_000

LAST_BUILT, NOT_YET_COUNTED, SPOILT = "2025-01-06", "2025-01-07", "2025-01-08"
ROWS = "group:raw or group:validated"
GROUPS = (
    "landing", "raw", "validated", "monitoring", "people", "features", "segmentation", "behaviour", "churn", "intent",
    "lifetime_value", "recommendation", "propensity", "associations", "ledger", "profiles",
)
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
SECONDS = 1000.0
# A page is there in a few seconds; a machine that does other work at the same time takes much longer.
PATIENCE = 120 * SECONDS


@dataclass(frozen=True)
class Server:
    """Dagster over a home.

    Attributes:
        url: where it answers, without a slash at the end.
        home: the home.
    """

    url: str
    home: Home

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """Send a GraphQL query and give its data."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]


@contextmanager
def dagster_over(home: Home, log: Path) -> Iterator[Server]:
    """Run `insight ui` in a process group of its own until the block is left."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with log.open("w") as output:
        process = subprocess.Popen(
            home.command("ui", "--port", str(port)), env=home.environment(), stdout=output, stderr=output,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )
    try:
        server = Server(f"http://127.0.0.1:{port}", home)
        _until(lambda: _is_loaded(server, process, log), seconds=240, what="the code location to load")
        yield server
    finally:
        _end(process)


def _is_loaded(server: Server, process: subprocess.Popen, log: Path) -> bool:
    assert process.poll() is None, f"`insight ui` ended:\n{log.read_text()[-3000:]}"
    try:
        answer = server.ask(
            "{ workspaceOrError { ... on Workspace { locationEntries {"
            " loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"
        )
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    entries = answer["workspaceOrError"].get("locationEntries", [])
    if not entries or any(entry["loadStatus"] != "LOADED" for entry in entries):
        return False
    errors = [entry["locationOrLoadError"] for entry in entries]
    assert all(error["__typename"] != "PythonError" for error in errors), errors
    return True


def _end(process: subprocess.Popen) -> None:
    """End a process group: webserver, daemon, code server and runs hang on the one process that we started."""
    for sign, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, sign)
            process.wait(seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
    # The group outlives its leader when one of the others is slow to end.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.5)


def _land_views_again(home: Home, day: str, *, name: str) -> int:
    """Land each view of a day a second time, its event under that name; give the number of such rows."""
    landing = home.path / "landing" / "segment"
    calls = map(json.loads, gzip.decompress((landing / f"segment-{day}.ndjson.gz").read_bytes()).splitlines())
    views = [call for call in calls if call["event"] == "Product Viewed"]
    again = [json.dumps(call | {"messageId": f"again-{number}", "event": name}) for number, call in enumerate(views)]
    (landing / "views.ndjson").write_text("\n".join(again), encoding="utf-8")
    return len(again)


def _events(home: Home, day: str) -> list[tuple]:
    """Give what the events of a day say, leaving out which file said it."""
    rows = Lake(home.path / "lake").scan(contract("events"), [date.fromisoformat(day)]).drop("file_hash").collect()
    return rows.sort("event_id").rows()


@dataclass(frozen=True)
class Shop:
    """A home with a refused day.

    Attributes:
        home: the home.
        spoilt: number of rows that were spoilt.
    """

    home: Home
    spoilt: int


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    # The code location must be importable by Dagster's own processes also where the package is not installed.
    sources = tmp_path_factory.mktemp("sources")
    home = Home(tmp_path_factory.mktemp("shop"), {"PYTHONPATH": str(ROOT), "INSIGHT_SOURCES": str(sources)})
    home.run("simulate", "--customers", "60", "--days", "12")
    home.build("--to", LAST_BUILT, "--select", f"{ROWS} or group:features")
    spoilt = _land_views_again(home, SPOILT, name="Produkt Viewed")
    report = home.build("--from", NOT_YET_COUNTED, "--to", SPOILT, "--select", ROWS, expect=1)
    assert [failure["asset"] for failure in report["failures"]] == ["validated"]
    return Shop(home, spoilt)


@pytest.fixture(scope="module")
def server(shop, tmp_path_factory) -> Iterator[Server]:
    with dagster_over(shop.home, tmp_path_factory.mktemp("ui") / "dagster.log") as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, request, tmp_path):
    """A fresh page; the test fails if a script on it does, or if it asks any other host for anything."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    broken: list[str] = []
    elsewhere: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("request", lambda sent: None if _is_local(sent.url) else elsewhere.append(sent.url))
    # "Join the Dagster community" lies over the page of somebody who is there for the first time.
    page.add_locator_handler(page.get_by_role("button", name="Skip", exact=True), lambda button: button.click())
    failed_before = request.session.testsfailed
    yield page
    if request.session.testsfailed > failed_before:
        page.screenshot(path=tmp_path / "failed.png")
        print(f"screenshot: {tmp_path / 'failed.png'}; page: {page.url}")
    context.close()
    assert broken == []
    assert elsewhere == []


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"data", "blob"} or parts.hostname == "127.0.0.1"


def _node(page, name: str):
    """Give the box of that name in the graph; seen from near, it says more than its name."""
    return page.locator("svg foreignObject").filter(has_text=re.compile(rf"^{re.escape(name)}(?![a-z_])")).first


def _metadata(page, label: str):
    """Give the row of that label in the table of a partition's metadata."""
    return page.get_by_role("row").filter(has=page.get_by_text(label, exact=True))


def _icon(page, name: str):
    """Give the graph's button of that icon; the navigation has some of the same, before it."""
    return page.get_by_role("button").filter(has=page.locator(f"[aria-label={name}]")).last


def _status(server: Server, run_id: str) -> str:
    answer = server.ask("query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id)
    return answer["runOrError"]["status"]


def _materialize(server: Server, page, asset: str, day: str) -> dict[str, Any]:
    """Make a partition by the page's button, wait for the run and give it."""
    page.goto(f"{server.url}/assets/{asset}")
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    days = dialog.get_by_placeholder("ex: 2025")
    # Tables that are made together ask first whether all of them are wanted.
    confirm = dialog.get_by_role("button", name="Confirm")
    expect(days.or_(confirm)).to_be_visible()
    if confirm.is_visible():
        confirm.click()
    days.fill(day)
    days.press("Enter")
    dialog.get_by_role("button", name="Launch 1 run").click()
    page.get_by_text("Launched run").wait_for()
    newest = server.ask("{ runsOrError(limit: 1) { ... on Runs { results { runId tags { key value } } } } }")
    (run,) = newest["runsOrError"]["results"]
    _until(lambda: _status(server, run["runId"]) in ENDED, seconds=180, what="the run to end")
    assert _status(server, run["runId"]) == "SUCCESS"
    return run


def test_the_lineage_shows_every_group_and_its_assets(server, page):
    # Boxes outside the window are not drawn.
    page.set_viewport_size({"width": 3400, "height": 4000})
    page.goto(f"{server.url}/asset-groups")
    for group in GROUPS:
        expect(_node(page, group)).to_be_visible()
    # Seen from above the whole graph is wide and low, so that all of it is on the page. The menu stays open.
    _icon(page, "settings").click()
    page.get_by_role("menuitem", name="Change graph to vertical orientation").click()
    page.get_by_role("menuitem", name="Expand all groups").click()
    for asset in (
        "landing_segment", "raw_segment", "events", "orders", "order_lines", "quarantine", "products", "sessions",
        "customer_days", "customer_features", "event_sequences", "customer_labels", "rfm_segments", "churn_models",
        "churn_scorecard", "churn_scores", "recommendations", "ledger_grades", "customer_profiles", "segment_summary",
    ):
        expect(_node(page, asset)).to_be_visible()
    nodes = server.ask("{ assetNodes { groupName description owners { __typename } isMaterializable } }")["assetNodes"]
    assert {node["groupName"] for node in nodes} == set(GROUPS)
    assert all(node["description"] for node in nodes)
    assert all(node["owners"] for node in nodes if node["isMaterializable"])


def test_an_asset_says_what_it_holds(server, page):
    page.goto(f"{server.url}/assets/events")
    of = contract("events")
    expect(page.get_by_text(of.description)).to_be_visible()
    for label in ("validated", "insight", "Polars", "Delta Lake"):
        expect(page.get_by_text(label, exact=True).first).to_be_visible()
    for column in of.columns[:8]:
        row = page.get_by_role("row", name=re.compile(rf"^{column.name} ")).first
        expect(row).to_contain_text(column.description)
        if column.required:
            expect(row).to_contain_text("non-nullable")
        if column.classification == "pseudonym":
            expect(row).to_contain_text("pii: pseudonym")


def test_a_partition_says_how_many_rows_it_holds_and_their_hash(server, page):
    page.goto(f"{server.url}/assets/events")
    page.get_by_role("tab", name="Partitions").click()
    page.get_by_text(LAST_BUILT, exact=True).first.click()
    expect(page.get_by_text("Materialized", exact=True)).to_be_visible()
    rows = Lake(server.home.path / "lake").scan(contract("events"), [date.fromisoformat(LAST_BUILT)]).collect().height
    expect(_metadata(page, "dagster/partition_row_count")).to_contain_text(str(rows))
    expect(_metadata(page, "content_hash")).to_contain_text(server.home.hashes("events")["events"][LAST_BUILT])


def test_a_partition_is_made_from_the_page(server, page):
    assert NOT_YET_COUNTED not in server.home.hashes("product_days")["product_days"]
    run = _materialize(server, page, "product_days", NOT_YET_COUNTED)
    assert {"key": "dagster/from_ui", "value": "true"} in run["tags"]
    page.goto(f"{server.url}/runs/{run['runId']}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    page.goto(f"{server.url}/assets/product_days?view=partitions&partition={NOT_YET_COUNTED}")
    expect(page.get_by_text("Materialized", exact=True)).to_be_visible()
    made = server.home.hashes("product_days")["product_days"][NOT_YET_COUNTED]
    expect(_metadata(page, "content_hash")).to_contain_text(made)


def test_the_failed_check_of_a_spoilt_day_is_found(server, shop, page):
    page.goto(f"{server.url}/assets/events?view=checks&checkDetail=quarantined_within_reject_budget")
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    expect(page.get_by_text("blocking")).to_be_visible()
    expect(page.get_by_role("row", name=f"quarantined {shop.spoilt}", exact=True)).to_be_visible()
    page.get_by_text("[Show Markdown]").click()
    refused = page.get_by_role("dialog").get_by_role("row").filter(has_text=SPOILT)
    for cell in ("segment", str(shop.spoilt), f"event.enum {shop.spoilt}"):
        expect(refused.get_by_role("cell", name=cell, exact=True).first).to_be_visible()
    page.get_by_role("button", name="Close").click()


def test_a_refused_day_says_what_to_do_next(server, page):
    page.goto(f"{server.url}/assets/events?view=partitions&partition={SPOILT}")
    expect(page.get_by_text("failed, and did not materialize this asset")).to_be_visible()
    page.get_by_role("button", name="View logs").or_(page.get_by_role("link", name="View logs")).first.click()
    expect(page.get_by_text(f"1 source-days were not published ({SPOILT})").first).to_be_visible()
    expect(page.get_by_text("Next: `insight show quarantine`").first).to_be_visible()
    assert SPOILT not in server.home.hashes("events")["events"]


def test_a_mended_contract_replays_what_was_quarantined(server, shop, page, tmp_path):
    """The name of the event is mended in the contract; nothing is delivered again."""
    contract_file = ROOT / "data_contracts" / "sources" / "segment.odcs.yaml"
    written = contract_file.read_text(encoding="utf-8")
    mended = written.replace("LOWER(event)", "REPLACE(LOWER(event), 'produkt', 'product')")
    mended = re.sub(r"(?m)^version: .*$", "version: 99.0.0", mended)
    (Path(shop.home.settings["INSIGHT_SOURCES"]) / contract_file.name).write_text(mended, encoding="utf-8")
    before = _loaded_at(server)
    page.goto(f"{server.url}/locations")
    page.get_by_role("button", name="Reload").first.click()
    _until(lambda: _loaded_at(server) > before, seconds=120, what="the code location to be loaded again")
    _materialize(server, page, "raw_segment", SPOILT)
    _materialize(server, page, "events", SPOILT)
    page.goto(f"{server.url}/assets/events?view=checks&checkDetail=every_delivered_day_is_published")
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()
    clean = Home(tmp_path / "clean", {"PYTHONPATH": str(ROOT)})
    for name in ("landing", "secrets"):
        shutil.copytree(shop.home.path / name, clean.path / name)
    shutil.copy(shop.home.path / "insight.env", clean.path)
    _land_views_again(clean, SPOILT, name="Product Viewed")
    clean.build("--from", SPOILT, "--to", SPOILT, "--select", ROWS)
    assert _events(shop.home, SPOILT) == _events(clean, SPOILT) != []


def _loaded_at(server: Server) -> float:
    answer = server.ask(
        "{ workspaceOrError { ... on Workspace { locationEntries {"
        " updatedTimestamp loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"
    )
    (entry,) = answer["workspaceOrError"]["locationEntries"]
    assert entry["locationOrLoadError"]["__typename"] != "PythonError", entry
    return entry["updatedTimestamp"] if entry["loadStatus"] == "LOADED" else 0.0


def test_a_picture_is_drawn(server, page):
    page.goto(f"{server.url}/assets/customer_features?view=partitions&partition={LAST_BUILT}")
    _metadata(page, "last_seen").get_by_text("[Show Markdown]").click()
    picture = page.get_by_role("dialog").get_by_role("img", name="chart")
    expect(picture).to_be_visible()
    assert picture.get_attribute("src").startswith("data:image/png;base64,")
    assert picture.evaluate("picture => picture.complete && picture.naturalWidth") > 200


@pytest.mark.skipif(SCREENSHOTS_OF is None, reason="takes the README's picture only when SCREENSHOTS_OF names a home")
def test_the_lineage_fits_a_picture(browser, tmp_path):
    home = Home(Path(SCREENSHOTS_OF).resolve(), {"PYTHONPATH": str(ROOT)})
    with dagster_over(home, tmp_path / "dagster.log") as server:
        context = browser.new_context(viewport={"width": 1500, "height": 1350})
        context.add_init_script("""localStorage.setItem("dagster-nav-collapsed", "true");""")
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        # Groups stay closed: the names of all assets at once would be too small to read.
        page.goto(f"{server.url}/asset-groups")
        _node(page, "profiles").wait_for()
        # The boxes glide to their places, and their colours come with a later answer.
        page.wait_for_timeout(10 * SECONDS)
        # A home that was opened before greets nobody.
        if (greeting := page.get_by_role("button", name="Skip", exact=True)).is_visible():
            greeting.click()
        # The graph was fitted to the width; a wider page leaves room for the buttons that lay over it.
        page.set_viewport_size({"width": 1600, "height": 1350})
        page.wait_for_timeout(2 * SECONDS)
        page.screenshot(path=LINEAGE_PICTURE)
        context.close()
    assert LINEAGE_PICTURE.stat().st_size <= MAX_PICTURE_BYTES
