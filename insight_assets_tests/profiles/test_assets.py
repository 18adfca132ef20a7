from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.io_managers import LakeIOManager
from insight_assets.lake import Lake
from insight_assets.metadata import HASH_KEY, table_asset
from insight_assets.profiles import assets, checks
from insight_assets.settings import settings
from insight_assets_tests.profiles.people import (
    AS_OF,
    churn,
    clusters,
    days,
    features,
    intent,
    lists,
    rows,
    segments,
    value,
    vectors,
)

BUYERS, VISITORS = range(1, 41), range(41, 56)
KEY = AS_OF.isoformat()
ORDER = {"actor_key": 1, "customer_key": 1, "currency": "USD", "base_currency": "EUR", "exchange_rate": 1}


def tables() -> dict[str, pl.LazyFrame]:
    """Forty buyers in two segments, fifteen visitors, and no cluster yet."""
    return {
        "customer_features": features(
            *(
                {
                    "customer_key": key,
                    "orders_lifetime": 2,
                    "x_repeat_purchases": 1,
                    "net_90d": 10.0,
                    "net_365d": 20.0,
                    "gross_lifetime": 25.0,
                    "web_share_365d": 1.0,
                }
                for key in BUYERS
            ),
            *({"customer_key": key} for key in VISITORS),
        ),
        "customer_days": days(
            *({"customer_key": key, "bought_categories": ["tea"]} for key in BUYERS)
        ),
        "orders": rows("orders", [ORDER]).lazy(),
        "rfm_segments": segments(*((key, "loyal" if key <= 28 else "lost") for key in BUYERS)),
        "lifecycle_states": rows(
            "lifecycle_states",
            [
                {"customer_key": key, "state": "active", "purchase_days": 2, "rhythm_days": 20.0, "cohort_month": AS_OF}
                for key in BUYERS
            ]
            + [{"customer_key": key, "state": "prospect"} for key in VISITORS],
        ).lazy(),
        "previous_segments": contract("previous_segments").empty().lazy(),
        "customer_clusters": clusters(),
        "churn_scores": churn(*({"customer_key": key, "churn_probability": 0.5} for key in BUYERS)),
        "intent_scores": intent(
            *(
                {"customer_key": key, "horizon_days": days, "purchase_probability": 0.1}
                for key in (*BUYERS, *VISITORS)
                for days in (7, 30)
            )
        ),
        "lifetime_value_scores": value(
            *({"customer_key": key, "expected_value_365d": 30.0} for key in BUYERS)
        ),
        "behaviour_vectors": vectors(*({"customer_key": key, "vector": [0.5, -1.0]} for key in (*BUYERS, *VISITORS))),
        "recommendations": lists(
            *(
                {"customer_key": key, "rank": rank, "product_id": f"p{rank}"}
                for key in BUYERS
                for rank in range(1, 11)
            )
        ),
        **{
            name: contract(name).empty().lazy()
            for name in ("propensity_scores", "identities", "quarantined_links", "consents")
        },
    }


def upstream(name: str, rows: pl.LazyFrame) -> dg.AssetsDefinition:
    @dg.asset(**table_asset(name, layer="feature", purpose="operations"))
    def table() -> pl.LazyFrame:
        return rows

    return table


def build(home: Path, given: dict[str, pl.LazyFrame], instance: dg.DagsterInstance, **arguments):
    return dg.materialize(
        [
            *(upstream(name, rows) for name, rows in given.items()),
            assets.customer_profiles,
            assets.segment_summary,
        ],
        instance=instance,
        resources={"lake": LakeIOManager(root=str(home))},
        partition_key=KEY,
        **arguments,
    )


def stored(home: Path, table: str) -> pl.DataFrame:
    return Lake(home).scan(contract(table), [AS_OF]).collect()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def built(home):
    return build(home, tables(), dg.DagsterInstance.ephemeral())


def test_profiles_and_their_summary_are_published(built, home):
    assert built.success
    profiles = stored(home, "customer_profiles")
    assert profiles["customer_key"].to_list() == [*BUYERS, *VISITORS]
    assert set(profiles["currency"]) == {"EUR"}
    assert profiles["recommended_product_ids"].list.len().drop_nulls().unique().to_list() == [10]
    summary = stored(home, "segment_summary")
    assert summary.select("segment", "customers").rows() == [
        ("lost", 12),
        ("loyal", 28),
        ("no_purchase", 15),
    ]
    assert settings().k_anonymity == 10


def test_every_check_is_judged_and_holds(built):
    found = {
        (evaluation.asset_key.to_user_string(), evaluation.check_name): evaluation
        for evaluation in built.get_asset_check_evaluations()
    }
    assert set(found) == {
        (spec.asset_key.to_user_string(), spec.name)
        for spec in (*checks.PROFILE_CHECKS, *checks.SUMMARY_CHECKS)
    }
    assert all(evaluation.passed for evaluation in found.values())
    expected = found["customer_profiles", "meets_its_contract"].metadata
    assert expected["rows"].value == 55
    assert expected["demands"].value >= len(contract("customer_profiles").row_rules())


def test_metadata_is_safe_to_show(built):
    of_profiles = built.asset_materializations_for_node("customer_profiles")[0].metadata
    # Fifteen visitors carry these flags; nobody is told apart.
    assert of_profiles["flags"].value.splitlines()[2:] == [
        "| no_purchase | 15 |",
        "| no_recommendation | 15 |",
    ]
    of_summary = built.asset_materializations_for_node("segment_summary")[0].metadata
    assert "| loyal |" in of_summary["segments"].value
    assert of_summary["customers_and_value"].value.startswith("![chart](data:image/png;base64,")


def test_building_again_in_another_order_changes_no_content(built, tmp_path):
    turned = {name: rows.collect().reverse().lazy() for name, rows in tables().items()}
    again = build(tmp_path, turned, dg.DagsterInstance.ephemeral())
    for name in ("customer_profiles", "segment_summary"):
        hashes = {
            result.asset_materializations_for_node(name)[0].metadata[HASH_KEY].value
            for result in (built, again)
        }
        assert len(hashes) == 1


def test_profiles_that_fail_a_check_are_not_published(tmp_path, monkeypatch):
    whole = assets.fuse_profiles

    def one_is_lost(*tables, **arguments):
        return whole(*tables, **arguments).filter(pl.col("customer_key") != 7)

    monkeypatch.setattr(assets, "fuse_profiles", one_is_lost)
    failed = build(tmp_path, tables(), dg.DagsterInstance.ephemeral(), raise_on_error=False)
    assert not failed.success
    judged = {found.check_name: found for found in failed.get_asset_check_evaluations()}
    assert not judged["one_row_per_customer"].passed
    assert judged["one_row_per_customer"].metadata["missing"].value == 1
    assert judged["scores_within_bounds"].passed
    assert not Lake(tmp_path).exists("customer_profiles")
    assert not Lake(tmp_path).exists("segment_summary")


def summary_row(**values: object) -> pl.DataFrame:
    money = dict.fromkeys(("net_90d_sum", "net_90d_mean", "net_365d_sum", "net_365d_mean"), 1.0)
    names = {"segment": "loyal", "segment_en": "Loyal", "segment_zh": "忠诚客户"}
    row = {"as_of": AS_OF, **names, "customers": 12, "share": 1.0, **money, **values}
    return contract("segment_summary").conform(pl.DataFrame([row])).collect()


def test_a_broken_expectation_is_named():
    result = checks.check_contract("segment_summary", summary_row(share=1.5))
    assert not result.passed
    assert result.metadata["broken"].value == {"share.maximum": 1}


def test_a_small_group_is_found():
    for customers, passed in ((9, False), (10, True)):
        results = checks.check_summary(summary_row(customers=customers), smallest_group=10)
        assert next(results).passed is passed
