"""The list of features: complete for every column, and told by the command line."""

import json

import pytest
from typer.testing import CliRunner

from insight_assets.cli import app
from insight_assets.contracts.catalogue import contract
from insight_assets.features.registry import TABLES, incomplete, list_features


@pytest.mark.parametrize("table", TABLES)
def test_every_feature_says_all_that_is_to_be_known_of_it(table):
    features = list_features(contract(table))
    assert features.height == len(contract(table).columns)
    assert incomplete(features) == []


@pytest.mark.parametrize("table", TABLES)
def test_what_is_never_null_is_demanded_and_the_rest_says_when(table):
    for column in contract(table).columns:
        assert (column.nulls == "never null") == column.required, column.name
        assert column.required or column.nulls.startswith("null "), column.name


def test_what_a_contract_leaves_unsaid_is_named():
    features = list_features(contract("customer_state"))
    assert set(incomplete(features)) == set(features["feature"])


def test_the_command_lists_features_about_a_word():
    found = CliRunner().invoke(app, ["features", "--about", "refund", "--json"])
    assert found.exit_code == 0, found.output
    rows = json.loads(found.stdout)
    assert {"refunds_7d", "refunded_365d", "refund_share_lifetime"} <= {row["feature"] for row in rows}
    (share,) = [row for row in rows if row["feature"] == "refund_share_lifetime"]
    assert (share["owner"], share["window"], share["unit"], share["leakage"], share["since"]) == (
        "insight", "lifetime", "ratio", "own past", "1.0.0",
    )  # fmt: skip
    assert share["nulls"] == "null when nothing was ever bought"
    assert CliRunner().invoke(app, ["features", "orders"]).exit_code == 2
