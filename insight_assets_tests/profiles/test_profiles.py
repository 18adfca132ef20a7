from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from insight_assets.checks import unmatched_customers
from insight_assets.contracts.catalogue import contract
from insight_assets.profiles.profiles import (
    COPIED_FEATURES,
    FULL_PROFILE,
    favourite_categories,
    flag_counts,
    fuse_profiles,
    scores_out_of_bounds,
)
from insight_assets.purposes import WITHOUT_RECORD
from insight_assets_tests.profiles.people import (
    AS_OF,
    VERSION,
    churn,
    clusters,
    days,
    features,
    intent,
    likely,
    lists,
    rows,
    segments,
    value,
    vectors,
)

BUYER, VISITOR = 1, 2


def fuse(
    known,
    activity=None,
    *,
    rfm=None,
    stages=(),
    before=(),
    groups=None,
    leaving=None,
    buying=None,
    worth=None,
    encoded=None,
    recommended=None,
    next_bought=None,
    orders=None,
    as_of=AS_OF,
    **who,
):
    people = {name: rows(name, who.get(name, ())).lazy() for name in ("identities", "quarantined_links", "consents")}
    fused = fuse_profiles(
        known,
        days() if activity is None else activity,
        rows("orders", [{"base_currency": "EUR"}] if orders is None else orders).lazy(),
        rfm_segments=segments() if rfm is None else rfm,
        lifecycle_states=rows("lifecycle_states", stages).lazy(),
        previous_segments=rows("previous_segments", before).lazy(),
        customer_clusters=clusters() if groups is None else groups,
        churn_scores=churn() if leaving is None else leaving,
        intent_scores=intent() if buying is None else buying,
        lifetime_value_scores=value() if worth is None else worth,
        behaviour_vectors=vectors() if encoded is None else encoded,
        recommendations=lists() if recommended is None else recommended,
        propensity_scores=likely() if next_bought is None else next_bought,
        **people,
        consent_without_record=WITHOUT_RECORD,
        as_of=as_of,
    )
    return contract("customer_profiles").conform(fused).collect()


def test_what_the_encoder_read_stands_beside_its_version_and_is_empty_for_others():
    known = features({"customer_key": BUYER}, {"customer_key": VISITOR})
    found = fuse(known, encoded=vectors({"customer_key": BUYER, "vector": [0.25, -1.5]}))
    told = found.sort("customer_key").select("behaviour_vector", "behaviour_model_version").rows()
    assert told == [([0.25, -1.5], VERSION), (None, None)]


def whole_shop(order=1):
    """A buyer with everything and a visitor who never bought, each table in either order."""

    def turned(frame):
        return frame.collect()[::order].lazy()

    return {
        "known": turned(
            features(
                {
                    "customer_key": BUYER,
                    "first_seen_day": date(2024, 6, 1),
                    "tenure_days": 273,
                    "days_since_last_order": 4,
                    "orders_90d": 2,
                    "orders_lifetime": 7,
                    "net_lifetime": 310.5,
                    "gross_lifetime": 330.0,
                    "mean_order_value_365d": 44.36,
                    "mean_gap_days": 30.0,
                    "web_share_365d": 0.3,
                    "app_share_365d": 0.7,
                    "night_share_365d": 0.5,
                    "evening_share_365d": 0.5,
                    "currencies": 1,
                },
                {"customer_key": VISITOR, "first_seen_day": date(2025, 2, 28)},
            )
        ),
        "activity": turned(
            days(
                {
                    "customer_key": BUYER,
                    "event_day": date(2025, 2, 25),
                    "bought_categories": ["tea"],
                },
                {
                    "customer_key": VISITOR,
                    "event_day": date(2025, 2, 28),
                },
            )
        ),
        "rfm": turned(segments((BUYER, "loyal"), (VISITOR, "new"))),
        "groups": turned(clusters(BUYER, VISITOR)),
        "leaving": turned(
            churn(
                {
                    "customer_key": BUYER,
                    "churn_probability": 0.25,
                    "churn_decile": 2,
                    "driver_1": "recent order",
                    "driver_3": "short rhythm",
                },
                {"customer_key": VISITOR, "churn_probability": 0.9, "churn_decile": 10},
            )
        ),
        "worth": turned(
            value(
                {
                    "customer_key": BUYER,
                    "probability_alive": 0.8,
                    "expected_value_365d": 120.0,
                    "expected_value_365d_high": 300.0,
                    "value_decile": 9,
                },
                {"customer_key": VISITOR, "value_decile": 1},
            )
        ),
        "recommended": turned(
            lists(
                {
                    "customer_key": BUYER,
                    "rank": 2,
                    "product_id": "p2",
                    "product_name": None,
                    "reason": "popular",
                    "reason_zh": "热销",
                },
                {
                    "customer_key": BUYER,
                    "rank": 1,
                    "product_id": "p1",
                    "product_name": "Tea pot",
                    "reason": "bought with Tea",
                    "reason_zh": "常与“Tea”一起购买",
                },
            )
        ),
    }


def test_a_profile_holds_what_every_stage_found():
    profiles = fuse(**whole_shop())
    of_buyer = profiles.row(0, named=True)
    assert profiles["customer_key"].to_list() == [BUYER, VISITOR]
    assert {name: of_buyer[name] for name in ("first_seen_day", "tenure_days", "orders_90d")} == {
        "first_seen_day": date(2024, 6, 1),
        "tenure_days": 273,
        "orders_90d": 2,
    }
    assert of_buyer["favourite_category"] == "tea"
    assert of_buyer["favourite_channel"] == "app"
    # A tie goes to the earlier part of the day.
    assert of_buyer["favourite_day_part"] == "night"
    assert of_buyer["rfm_segment_zh"] == "忠诚客户"
    assert of_buyer["cluster_label_en"] == "many orders"
    assert (of_buyer["churn_probability"], of_buyer["churn_grade"]) == (0.25, "B")
    assert of_buyer["churn_drivers"] == ["recent order", "short rhythm"]
    assert (of_buyer["expected_value_365d"], of_buyer["expected_value_365d_high"]) == (120, 300)
    assert (of_buyer["value_decile"], of_buyer["value_tier"]) == (9, "high")
    assert of_buyer["value_model_version"] == VERSION
    assert of_buyer["recommended_product_ids"] == ["p1", "p2"]
    assert of_buyer["recommended_product_names"] == ["Tea pot", "p2"]
    assert of_buyer["recommendation_reasons"] == ["bought with Tea", "popular"]
    assert of_buyer["recommendation_reasons_zh"] == ["常与“Tea”一起购买", "热销"]
    assert (of_buyer["recommendation_method"], of_buyer["recommendation_grade"]) == ("ease", "A")
    assert of_buyer["data_quality_flags"] == []
    assert of_buyer["profile_completeness"] == 1.0
    assert of_buyer["data_complete_until"] == date(2025, 2, 28)


def test_a_profile_says_where_the_customer_stands_and_stood():
    stages = [
        {
            "customer_key": BUYER,
            "state": "loyal",
            "state_en": "Loyal",
            "state_zh": "忠诚客户",
            "since": date(2025, 2, 25),
            "moves_on": date(2025, 4, 1),
            "cohort_month": date(2024, 6, 1),
        },
        {"customer_key": VISITOR, "state": "prospect", "state_en": "Prospect", "state_zh": "潜在客户"},
    ]
    earlier = date(2025, 1, 30)
    before = [{"customer_key": BUYER, "previous_day": earlier, "lifecycle_state": "active"}]
    profiles = fuse(**whole_shop(), stages=stages, before=before)
    of_buyer, of_visitor = profiles.rows(named=True)
    assert (of_buyer["lifecycle_stage"], of_buyer["lifecycle_stage_zh"]) == ("loyal", "忠诚客户")
    assert (of_buyer["lifecycle_since"], of_buyer["lifecycle_moves_on"]) == (date(2025, 2, 25), date(2025, 4, 1))
    assert of_buyer["cohort_month"] == date(2024, 6, 1)
    # The buyer had no segment then, having bought nothing yet.
    assert (of_buyer["segment_prev"], of_buyer["segment_prev_zh"]) == ("no_purchase", "尚未购买")
    assert (of_buyer["segment_prev_day"], of_buyer["lifecycle_stage_prev"]) == (earlier, "active")
    assert (of_visitor["lifecycle_stage"], of_visitor["cohort_month"]) == ("prospect", None)
    assert {of_visitor[name] for name in of_visitor if name.startswith("segment_prev")} == {None}
    for rule in contract("customer_profiles").row_rules():
        assert profiles.select(rule.passes.all()).item(), rule.name


def test_nothing_is_predicted_for_somebody_who_never_bought():
    of_visitor = fuse(**whole_shop()).row(1, named=True)
    predicted = [name for name in of_visitor if name.startswith(("rfm_", "cluster", "churn_"))]
    predicted += [name for name in of_visitor if name.startswith(("value_", "expected_", "prob"))]
    assert {of_visitor[name] for name in predicted} == {None}
    assert of_visitor["data_quality_flags"] == ["no_purchase", "no_recommendation"]
    assert of_visitor["profile_completeness"] == 0.0


def test_profiles_obey_their_contract():
    profiles = fuse(**whole_shop())
    for rule in contract("customer_profiles").row_rules():
        assert profiles.select(rule.passes.all()).item(), rule.name


def test_profiles_do_not_depend_on_the_order_of_rows():
    assert_frame_equal(fuse(**whole_shop()), fuse(**whole_shop(order=-1)))


def test_what_is_missing_is_flagged():
    bought = {"orders_lifetime": 1, "gross_lifetime": 10.0}
    profiles = fuse(
        features(
            {"customer_key": 1, **bought},
            {"customer_key": 2, **bought, "refunded_lifetime": 10.0001, "currencies": 2},
            {"customer_key": 3, **bought, "events_lifetime": 1},
            {"customer_key": 4, **bought, "events_lifetime": 2, "refunded_lifetime": 10.0},
        ),
        leaving=churn(
            {"customer_key": 2, "grade": "ungraded", "graded_origin": None},
            {"customer_key": 3},
            {"customer_key": 4},
        ),
        worth=value({"customer_key": 2}, {"customer_key": 4}),
        recommended=lists(*({"customer_key": key, "rank": 1} for key in (1, 2, 3, 4))),
    )
    assert profiles["data_quality_flags"].to_list() == [
        ["score_missing"],
        ["refund_exceeds_gross", "several_currencies", "ungraded_score"],
        ["few_events", "score_missing"],
        [],
    ]


@pytest.mark.parametrize(
    ("decile", "tier"),
    [(10, "top"), (9, "high"), (8, "high"), (7, "medium"), (4, "medium"), (3, "low")],
)
def test_tiers_follow_the_decile(decile, tier):
    profiles = fuse(
        features({"customer_key": 1, "orders_lifetime": 1}),
        worth=value({"customer_key": 1, "value_decile": decile}),
    )
    assert profiles["value_tier"].to_list() == [tier]


def test_the_favourite_category_is_bought_on_most_days_of_the_year():
    def bought(ago, *categories, customer=1):
        day = AS_OF - timedelta(days=ago)
        return {"customer_key": customer, "event_day": day, "bought_categories": categories}

    activity = days(
        bought(0, "tea", "cups"),
        bought(10, "tea"),
        *(bought(ago, "toys") for ago in (365, 366, 367)),
        bought(5, "b", "a", customer=2),
        bought(5, customer=3),
        bought(-1, "later", customer=1),
    )
    found = favourite_categories(activity, as_of=AS_OF).sort("customer_key").collect()
    assert found.rows() == [(1, "tea"), (2, "a")]


def test_days_after_the_as_of_day_change_nothing():
    shop = whole_shop()
    later = days(
        {
            "customer_key": BUYER,
            "event_day": AS_OF + timedelta(days=1),
            "bought_categories": ["a", "b"],
        }
    )
    more = shop | {"activity": pl.concat([shop["activity"], later])}
    assert_frame_equal(fuse(**shop), fuse(**more))


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.integers(1, 12)),
    st.sets(st.integers(1, 15)),
    st.sets(st.integers(1, 15)),
    st.sets(st.tuples(st.integers(1, 15), st.integers(1, 4))),
)
def test_every_customer_has_exactly_one_profile(known, scored, valued, ranked):
    customers = features(
        *({"customer_key": key, "orders_lifetime": key % 3} for key in sorted(known))
    )
    profiles = fuse(
        customers,
        leaving=churn(*({"customer_key": key} for key in sorted(scored))),
        worth=value(*({"customer_key": key} for key in sorted(valued))),
        recommended=lists(*({"customer_key": key, "rank": place} for key, place in ranked)),
    )
    assert profiles["customer_key"].to_list() == sorted(known)
    unmatched = unmatched_customers(customers, profiles)
    assert (unmatched.missing, unmatched.unknown, unmatched.repeated) == (0, 0, 0)
    for rule in contract("customer_profiles").row_rules():
        assert profiles.select(rule.passes.all()).item(), rule.name


def test_unmatched_customers_are_counted():
    known = features({"customer_key": 1}, {"customer_key": 2}, {"customer_key": 3})
    profiles = pl.DataFrame({"customer_key": [2, 2, 2, 3, 9]})
    assert vars(unmatched_customers(known, profiles)) == {
        "missing": 1,
        "unknown": 1,
        "repeated": 2,
    }


def test_scores_out_of_bounds_are_counted():
    profiles = pl.DataFrame(
        {
            "churn_probability": [0.0, 1.0, 1.1, None],
            "purchase_probability_7d": [0.0, 1.0, -0.1, None],
            "purchase_probability_30d": [0.5, 0.5, None, None],
            "probability_alive": [-0.1, 1.5, float("nan"), None],
            "profile_completeness": [0.5, 0.5, 0.5, 0.5],
        }
    )
    assert scores_out_of_bounds(profiles) == {
        "churn_probability": 1,
        "purchase_probability_7d": 1,
        "purchase_probability_30d": 0,
        "probability_alive": 3,
        "profile_completeness": 0,
    }


def test_rare_flags_are_not_told():
    flags = [["rare", "common"]] * 3 + [["common"]] * 15 + [["nearly all"]] * 2
    profiles = pl.DataFrame({"data_quality_flags": flags})
    assert flag_counts(profiles, smallest_group=10).is_empty()
    assert flag_counts(profiles, smallest_group=2).rows() == [
        ("common", 18),
        ("rare", 3),
        ("nearly all", 2),
    ]


def test_copied_and_counted_columns_are_in_the_contract():
    names = contract("customer_profiles").polars_schema().names()
    assert set(COPIED_FEATURES) | set(FULL_PROFILE) <= set(names)


def identifier(number, kind, confidence=0.9, person=BUYER):
    return {"identifier_key": number, "identifier_type": kind, "customer_key": person, "confidence": confidence}


def test_a_profile_says_who_the_customer_is_and_how_surely():
    who = [identifier(BUYER, "customer", 1.0), identifier(7, "customer"), identifier(8, "visitor"), identifier(9, "email", 0.6)]
    shared = {"kind": "login", "identifier_type": "visitor", "linked_key": 7, "linked_type": "customer", "reason": "shared_device"}
    profiles = fuse(features({"customer_key": BUYER}, {"customer_key": VISITOR}), identities=who, quarantined_links=[shared])
    columns = ["id_cluster_size", "id_customers", "id_visitors", "id_emails", "id_phones", "id_devices"]
    assert profiles.select(columns).rows() == [(4, 2, 1, 1, 0, 0), (1, 1, 0, 0, 0, 0)]
    sure = profiles.select("identity_confidence", "is_known", "shared_device_flag").rows()
    assert sure == [(0.6, True, True), (1.0, False, False)]


def test_a_profile_says_what_the_customer_allowed_and_what_silence_means():
    said = {"customer_key": BUYER, "purpose": "marketing", "granted": True, "given_at": datetime(2025, 2, 3, 23, tzinfo=UTC)}
    profiles = fuse(features({"customer_key": BUYER}, {"customer_key": VISITOR}), consents=[said])
    columns = ["consent_analytics", "consent_personalise", "consent_marketing", "consent_as_of"]
    assert profiles.select(columns).rows() == [(True, True, True, date(2025, 2, 3)), (True, True, False, None)]


def test_a_profile_says_in_which_currency_its_money_is():
    abroad = {"currency": "USD", "base_currency": "EUR"}
    known = features({"customer_key": BUYER}, {"customer_key": VISITOR})
    assert fuse(known, orders=[abroad])["currency"].to_list() == ["EUR", "EUR"]
    # Nothing was sold by the as-of day.
    tomorrow = {**abroad, "event_day": AS_OF + timedelta(days=1)}
    assert fuse(known, orders=[tomorrow])["currency"].to_list() == [None, None]


def test_a_profile_tells_how_likely_each_customer_is_to_buy_soon():
    told = {"purchase_probability": 0.2, "purchase_decile": 7, "method": "blend", "reasons_en": ["cart (raises)"]}
    later = told | {"purchase_probability": 0.5, "grade": "ungraded", "graded_origin": None, "reasons_zh": ["购物车"]}
    buying = intent(
        {"customer_key": VISITOR, "horizon_days": 7, **told}, {"customer_key": VISITOR, "horizon_days": 30, **later}
    )
    profiles = fuse(features({"customer_key": BUYER}, {"customer_key": VISITOR}), buying=buying)
    columns = [f"purchase_{name}_{days}d" for days in (7, 30) for name in ("probability", "decile", "method", "grade")]
    found = profiles.filter(customer_key=VISITOR)
    assert found.select(columns).row(0) == (0.2, 7, "blend", "A", 0.5, 7, "blend", "ungraded")
    assert found["purchase_reasons"].to_list() == [["cart (raises)"]]
    assert found["purchase_reasons_zh"].to_list() == [["购物车"]]
    assert "ungraded_score" in found["data_quality_flags"][0]
    assert profiles.filter(customer_key=BUYER).select(columns).row(0) == (None,) * 8


def test_what_is_bought_next_comes_with_its_probability():
    said = likely(
        {"customer_key": VISITOR, "kind": "product", "target": "p1", "target_name": "Lamp", "probability": 0.2},
        {"customer_key": VISITOR, "kind": "product", "target": "p2", "rank": 2, "probability": 0.1},
        {"customer_key": VISITOR, "kind": "category", "target": "tea", "probability": 0.4, "grade": "C"},
    )
    found = fuse(features({"customer_key": VISITOR}, {"customer_key": BUYER}), next_bought=said)
    buyer, visitor = found.sort("customer_key").rows(named=True)
    category, product = ("", "_probability", "_grade"), ("", "_name", "_probability")
    assert [visitor[f"next_category{each}"] for each in category] == ["tea", 0.4, "C"]
    assert [visitor[f"next_product{each}"] for each in product] == ["p1", "Lamp", 0.2]
    assert (visitor["next_price_band"], visitor["next_horizon_days"]) == (None, 90)
    assert (buyer["next_category"], buyer["next_product"], buyer["next_horizon_days"]) == (None, None, None)
