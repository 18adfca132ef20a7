"""What all model cards have in common: sections, what the run knew, and groups too small to be told."""

from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from insight_assets.ml.calibration import Calibrator
from insight_assets.ml.guards import Verdict
from insight_assets.ml.model_card import (
    TOO_FEW,
    ModelCard,
    calibration_table,
    card_text,
    groups_of,
    people_told,
    share_told,
    shuffled_told,
    table,
    taught_table,
    total_told,
)
from insight_assets_tests.model_cards import MAKING, SECTIONS, facts, section, tables

CARD = ModelCard(
    title="Toy models", says="They foretell.", horizon="7 days", meant_for=("a", "b"), not_for=("c",),
    taught_by=("rows",), methods=("methods",), calibration=("none",), scorecards={"churn_scorecard": "all"},
    limits=("d",),
)  # fmt: skip
EXAMPLES = pl.DataFrame(
    {
        "customer_key": [*range(30), *range(30, 34), *range(30)],
        "origin": [date(2024, 1, 1)] * 34 + [date(2024, 2, 1)] * 30,
        "role": ["fit"] * 30 + ["stop"] * 4 + ["fit"] * 30,
        "bought": [True] * 12 + [False] * 22 + [True] * 3 + [False] * 27,
    }
)


def groups():
    return groups_of(EXAMPLES, ["origin", "role"], label=pl.col("bought"), named="bought")


def test_a_card_has_all_sections_and_what_the_run_knew():
    card = card_text(CARD, MAKING, [Verdict("no_leak", True, {"auc": 0.5})])
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == SECTIONS
    told = facts(card)
    assert (told["seed"], told["horizon"], told["as of"]) == ("11", "7 days", "2024-05-29")
    assert told["owner"] == "team:insight"
    assert told["reads"] == MAKING.reads[0]
    assert tables(section(card, "Guards")) == [[{"guard": "no_leak", "verdict": "passed", "figures": "auc 0.5"}]]
    assert section(card, "For").splitlines()[2:4] == ["- a", "- b"]
    assert card == card_text(CARD, MAKING, [Verdict("no_leak", True, {"auc": 0.5})])
    assert "No guard" in section(card_text(CARD, MAKING), "Guards")


@pytest.mark.parametrize(
    "changed", [{"seed": 12}, {"as_of": date(2024, 5, 30)}, {"code_version": "4"}, {"reads": ("events 9.0.0",)}]
)
def test_what_the_run_knew_otherwise_is_another_card(changed):
    assert card_text(CARD, replace(MAKING, **changed)) != card_text(CARD, MAKING)


@pytest.mark.parametrize(
    ("silence", "told"), [(True, "is taken to agree"), (False, "is left out"), (None, "needs no consent")]
)
def test_consent_is_told_as_the_shop_takes_it(silence, told):
    assert told in facts(card_text(CARD, replace(MAKING, silence_is_consent=silence)))["purpose"]


def test_a_capability_may_say_that_there_is_no_seed():
    assert facts(card_text(replace(CARD, facts={"seed": "none"}), MAKING))["seed"] == "none"


def test_groups_are_counted_and_small_ones_not_told():
    assert [(group["role"], group["customers"], group["rows"]) for group in groups()] == [
        ("fit", 30, 30), ("stop", 4, 4), ("fit", 30, 30),
    ]  # fmt: skip
    (shown,) = tables(taught_table(groups(), share="bought", smallest_group=10))
    assert [row["customers"] for row in shown] == ["30", "fewer than 10", "30"]
    assert [row["rows"] for row in shown] == ["30", TOO_FEW, "30"]
    # Three buyers are few among however many others.
    assert [row["bought"] for row in shown] == ["0.4000", TOO_FEW, TOO_FEW]
    assert tables(taught_table(groups(), share="bought", smallest_group=3))[0][2]["bought"] == "0.1000"


def test_no_sum_tells_the_size_of_a_hidden_group():
    assert total_told(groups(), 4) == "Together 64 rows."
    assert "64" not in total_told(groups(), 10)
    assert groups_of(EXAMPLES.clear(), ["origin"], label=pl.col("bought"), named="bought") == []


def test_people_and_shares():
    assert [people_told(count, 10) for count in (0, 1, 9, 10, 1234)] == [
        "0", "fewer than 10", "fewer than 10", "10", "1,234",
    ]  # fmt: skip
    assert [share_told(share, 100, 10) for share in (0.0, 0.05, 0.5, 0.95, 1.0, None)] == [
        "0.0000", TOO_FEW, "0.5000", TOO_FEW, "1.0000", "undefined",
    ]  # fmt: skip


def test_calibrators_are_told_by_what_they_learnt():
    learnt = Calibrator((0.1, 0.5, 0.9), (0.2, 0.4, 0.8), ((0.1, 0.0, 0.3),))
    (rows,) = tables(calibration_table({"rule": Calibrator(), "blend": learnt}, ["rule", "blend"]))
    assert "as it is" in rows[0]["probability"]
    assert rows[1] == {
        "method": "blend", "probability": "isotonic regression with 3 knots",
        "interval": "95 %, learnt in 1 groups of like scores",
    }  # fmt: skip


def test_a_control_is_told_where_it_was_defined():
    assert shuffled_told({"auc": 0.4987, "standard_error": 0.1}) == [
        "Control: trained on shuffled labels, the AUC on customers kept apart is 0.499."
    ]
    assert shuffled_told({"auc": None}) == shuffled_told(None) == []


def test_a_bar_in_a_cell_does_not_part_it():
    assert table([{"a": "x|y"}]).splitlines()[-1] == "| x\\|y |"
