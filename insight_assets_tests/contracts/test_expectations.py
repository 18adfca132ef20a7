"""Great Expectations reports and pages: what they count, and that they tell no value."""

import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from insight_assets.contracts.expectations import Outcome, render_data_docs, run_expectations
from insight_assets_tests.contracts.kitchen import dishes, kitchen

KITCHEN = kitchen()
SPOILT = dishes(
    {"note": "salt CANARY-1", "dish": "CANARY-2"},
    {"dish_id": "CANARY-3", "total": Decimal("31337.1234")},
    {},
)


@pytest.fixture(scope="module")
def report():
    return run_expectations(KITCHEN, SPOILT)


def test_report_counts_what_is_broken(report) -> None:
    assert not report.success
    assert (report.table, report.version, report.rows) == ("kitchen", "1.2.3", 3)
    assert [one for one in report.outcomes if not one.success] == [
        Outcome("dish.enum", "dish", success=False, unexpected_count=1),
        Outcome("adds_up", None, success=False, unexpected_count=1),
    ]
    assert [one.name for one in report.outcomes] == [
        "column_set",
        *(rule.name for rule in KITCHEN.row_rules()),
        "primary_key",
        "row_count",
    ]


def test_a_missing_column_fails_what_needs_it_and_tells_no_traceback(tmp_path: Path) -> None:
    report = run_expectations(KITCHEN, SPOILT.drop("total", "stars"))
    broken = {one.name for one in report.outcomes if not one.success}
    assert broken == {"column_set", "stars.enum", "dish.enum", "adds_up"}
    page = render_data_docs({"kitchen": report}, tmp_path).with_name("kitchen.html").read_text("utf-8")
    assert "Traceback" not in page
    assert "could not be computed" in page


def test_data_docs_tell_no_value_and_ask_no_other_host(report, tmp_path: Path) -> None:
    index = render_data_docs({"kitchen": report}, tmp_path / "docs")
    pages = {path.name: path.read_text("utf-8") for path in index.parent.iterdir()}
    assert set(pages) == {"index.html", "kitchen.html"}
    assert "kitchen.html" in pages["index.html"]
    for text in (*pages.values(), str(report.result), repr(report)):
        assert "CANARY" not in text
        assert "31337" not in text
    for page in pages.values():
        assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"'(]*https?://", page)
    assert "Total is price times count" in pages["kitchen.html"]


def test_contracts_load_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from insight_assets.contracts import catalogue, sources; "
        "catalogue.contracts(); sources.source_contracts(); "
        "print({'pandas', 'pandera', 'great_expectations', 'dagster', 'jsonschema'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
