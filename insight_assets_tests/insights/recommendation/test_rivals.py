"""The methods beside popularity, habit and weights between products: what each finds, and what it says of it."""

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from insight_assets.insights.recommendation.attributes import UNKNOWN, attributes_of
from insight_assets.insights.recommendation.blend import SOFTENING, Blend, place_worth
from insight_assets.insights.recommendation.content import Content
from insight_assets.insights.recommendation.customers_alike import CustomersAlike
from insight_assets.insights.recommendation.factors import learn_factors, solve_rows
from insight_assets.insights.recommendation.interactions import (
    CAME_BACK,
    FIRST_DAY,
    LOOKING,
    catalogue_of,
    history_of,
    interactions,
    without_contacts,
)
from insight_assets.insights.recommendation.methods import Tunings, available_products, choose_blend, fit
from insight_assets.insights.recommendation.publishing import UNGRADED, Publication, recommend
from insight_assets.insights.recommendation.ranking import NOBODY, Ground, Policy, Ranker, rank
from insight_assets.insights.recommendation.segments import favourites
from insight_assets_tests.insights.recommendation.shops import DAY, described, looks, paired_shop, sales
from insight_assets_tests.insights.recommendation.test_ranking import base, history

NEW_ONLY = Policy(repeat_purchases=False)


@pytest.fixture(scope="module")
def shop():
    return paired_shop(customers=150)


@pytest.fixture(scope="module")
def products(shop):
    return described(shop, new=[("a_new", "kind a", "brand 1", "3.5"), ("odd", "kind z", "brand z", "9")])


@pytest.fixture(scope="module")
def fitted(shop, products):
    return fit(interactions(shop, as_of=DAY).collect(), as_of=DAY, products=products)


def served(rows, fitted):
    return history_of(interactions(sales(rows), as_of=DAY).collect(), fitted.catalogue)


def publish(fitted, history, products, method, **given):
    return recommend(
        fitted, history, products, publish=Publication(method, "A", DAY), policy=Policy(), horizon_days=30,
        model_version="0123456789ab", **given,
    )


# Products by what they are


def test_attributes_follow_the_catalogue():
    told = pl.DataFrame(
        {
            "product_id": ["a", "b", "c", "d"],
            "category": ["x", "x", None, "y"],
            "brand": [None, "B", "A", "B"],
            "price": ["1", "9", "5", "5"],
            "currency": ["EUR", "EUR", "EUR", "USD"],
        }
    ).with_columns(pl.col("price").cast(pl.Decimal(18, 4)))
    found = attributes_of(told, ("d", "b", "a", "unheard of", "c"))
    assert (found.categories, found.brands) == (("x", "y"), ("A", "B"))
    assert found.category.tolist() == [1, 0, 0, UNKNOWN, UNKNOWN]
    assert found.brand.tolist() == [1, 1, UNKNOWN, UNKNOWN, 0]
    # Dollars are not compared with euros, and a product without category has no band.
    assert found.band.tolist() == [UNKNOWN, 3, 1, UNKNOWN, UNKNOWN]
    assert attributes_of(None, ("a",)).band.tolist() == [UNKNOWN]
    nothing = told.with_columns(pl.lit(None, pl.String).alias(name) for name in ("category", "brand", "currency"))
    assert attributes_of(nothing, ("a", "b")).category.tolist() == [UNKNOWN] * 2


def test_a_product_that_nobody_bought_comes_into_lists_by_what_it_is(fitted, products):
    catalogue = fitted.catalogue
    assert catalogue.cold == 2
    assert set(catalogue.products[-2:]) == {"a_new", "odd"}
    one = served([(1, "a1", 5)], fitted)
    lists = publish(fitted, one, products, "content").filter(pl.col("product_id") == "a_new")
    assert lists["rank"].item() <= 5
    assert lists.select("evidence", "because_product_id").row(0) in [("same_category", "a1"), ("same_brand", "a1")]
    # Methods that learn from contacts alone have nothing to say of it.
    for method in ("ease", "user_knn", "als", "popularity_all"):
        assert "a_new" not in publish(fitted, one, products, method)["product_id"].to_list()
    assert available_products(catalogue, as_of=DAY, policy=Policy())[-2:].all()


def test_likeness_is_the_cosine_of_shared_attributes(fitted):
    content = Content(fitted.catalogue.attributes)
    one = served([(1, "a1", 5), (1, "b2", 5)], fitted)
    recent = one.weights.astype(np.float32)
    scores = content.scores(one, recent)
    vectors = content._vectors.toarray()
    np.testing.assert_allclose(scores[0], vectors[one.items].mean(axis=0) @ vectors.T, rtol=1e-5)
    target = np.arange(len(fitted.catalogue))
    parts = [
        content.worth(one, recent, np.zeros(len(target), int), np.full(len(target), contact), target)
        for contact in range(2)
    ]
    np.testing.assert_allclose(sum(parts), scores[0], rtol=1e-5)


# Customers alike


def test_neighbours_among_customers_are_those_of_comparing_all_with_all(shop):
    contacts = interactions(shop, as_of=DAY).collect()
    catalogue = catalogue_of(contacts, as_of=DAY)
    everybody = history_of(contacts, catalogue)
    alike = CustomersAlike(products=len(catalogue), shrink=0.5, keep=7).among(everybody)
    recent = everybody.weights.astype(np.float32)
    dense = everybody.matrix(recent, len(catalogue)).toarray().astype(np.float64)
    norms = np.linalg.norm(dense, axis=1)
    similar = np.round(dense @ dense.T / (norms[:, None] * norms[None, :] + 0.5), 6)
    np.fill_diagonal(similar, 0.0)
    kept = np.where(similar >= np.sort(similar, axis=1)[:, -7, None], similar, 0.0)
    expected = kept / kept.sum(axis=1, keepdims=True) @ dense
    np.testing.assert_allclose(alike.scores(everybody, recent), expected, atol=1e-5)
    # A contact is worth how alike those are who had to do with both.
    customer, target = 3, 8
    mine = np.arange(everybody.offsets[customer], everybody.offsets[customer + 1])
    worth = alike.worth(everybody, recent, np.full(len(mine), customer), mine, np.full(len(mine), target))
    weights = kept[customer] / kept[customer].sum()
    both = [(weights * (dense[:, target] > 0) * (dense[:, item] > 0)).sum() for item in everybody.items[mine]]
    np.testing.assert_allclose(worth, both, atol=1e-6)
    with pytest.raises(ValueError, match="among"):
        CustomersAlike(products=3, shrink=1.0).scores(everybody, recent)


# Factors


def test_a_row_is_solved_exactly():
    generator = np.random.default_rng(4)
    contacts = sparse.random(40, 12, 0.3, format="csr", random_state=2)
    others = generator.normal(size=(12, 5))
    found = solve_rows(contacts, others, unseen=0.2, ridge=0.3, scaling=1.0)
    for row in range(40):
        weights = contacts[row].toarray().ravel()
        count = np.count_nonzero(weights)
        system = 0.2 * others.T @ others + others.T @ np.diag(weights) @ others
        system += 0.3 * (count + 0.2 * 12) * np.eye(5)
        expected = np.linalg.solve(system, others.T @ weights)
        np.testing.assert_allclose(found[row], expected, atol=1e-10)


def test_factors_find_what_goes_together_and_scores_are_sums_of_contacts(shop):
    contacts = interactions(shop, as_of=DAY).collect()
    catalogue = catalogue_of(contacts, as_of=DAY)
    everybody = history_of(contacts, catalogue)
    factors = learn_factors(everybody.matrix(everybody.weights, len(catalogue)), ridge=0.03, factors=16)
    recent = everybody.weights.astype(np.float32)
    scores = factors.scores(everybody, recent)
    firsts = [position for position, product in enumerate(catalogue.products) if product.startswith("a")]
    for first in firsts:
        second = catalogue.products.index("b" + catalogue.products[first][1:])
        alone = history([(first, 1.0, 0, 1)])
        order = np.argsort(-factors.scores(alone, alone.weights)[0])
        assert second in order[:3]
    customer = 5
    mine = np.arange(everybody.offsets[customer], everybody.offsets[customer + 1])
    worth = factors.worth(everybody, recent, np.full(len(mine), customer), mine, np.full(len(mine), 2))
    assert worth.sum() == pytest.approx(scores[customer, 2], abs=1e-5)
    again = learn_factors(everybody.matrix(everybody.weights, len(catalogue)), ridge=0.03, factors=16)
    np.testing.assert_array_equal(factors.products, again.products)


# Segments


def test_stages_say_whether_a_customer_has_bought_once_or_again():
    lines = sales([(1, "a", 5), (1, "b", 5), (2, "a", 5), (2, "b", 9), (3, "a", 5), (3, "a", 9)])
    events = looks([(4, "a", 1, "product_viewed"), (1, "a", 1, "product_viewed")])
    contacts = interactions(lines, events, as_of=DAY).collect()
    found = history_of(contacts, catalogue_of(contacts, as_of=DAY))
    assert found.stages.tolist() == [FIRST_DAY, CAME_BACK, CAME_BACK, LOOKING]
    assert found.take(np.array([1, 3])).stages.tolist() == [CAME_BACK, LOOKING]


def segmented():
    """Thirty customers buy tea only, thirty cups only; tea is bought by all of the first, each cup by a third."""
    rows = [(c, p, 8) for c in range(30) for p in ("tea1", "tea2")]
    rows += [(c, f"cup{c % 3}", 8) for c in range(30, 60)] + [(c, "cup7", 8) for c in range(30, 60)]
    rows += [(c, "hit", 90 + c % 2) for c in range(60, 69) for _ in range(2)]
    lines = sales(rows)
    products = described(lines).with_columns(category=pl.col("product_id").str.slice(0, 3))
    contacts = interactions(lines, as_of=DAY).collect()
    return fit(contacts, as_of=DAY, products=products), contacts, products


def test_a_segment_gets_what_it_buys_itself():
    fitted, contacts, products = segmented()
    everybody = history_of(contacts, fitted.catalogue)
    liked = favourites(everybody, fitted.catalogue.attributes)
    assert fitted.catalogue.attributes.categories == ("cup", "hit", "tea")
    assert liked.tolist() == [2] * 30 + [0] * 30 + [1] * 9
    lists = publish(fitted, everybody, products, "popularity_segment")
    of = {key[0]: rows for key, rows in lists.group_by("customer_key")}
    assert set(of[3].sort("rank")["product_id"].head(2)) == {"tea1", "tea2"}
    assert of[40].sort("rank")["product_id"][0] == "cup7"
    first = of[40].sort("rank").row(0, named=True)
    assert (first["reason"], first["reason_zh"]) == (
        "popular with new customers who like cup", "偏好“cup”的新顾客中热销",
    )
    assert (first["evidence"], first["because_product_id"]) == ("segment", None)
    # Nobody of the segment bought it: that others did is no reason of the segment's.
    assert of[40].filter(pl.col("product_id") == "tea1")["evidence"].item() == "popular_now"
    # Nine who like "hit" are too few to be a segment of their own.
    assert of[65]["reason"].str.contains("who like hit").any() is False


def test_customers_without_history_get_what_new_customers_buy():
    fitted, contacts, products = segmented()
    everybody = history_of(contacts, fitted.catalogue)
    lists = publish(fitted, everybody, products, "ease", newcomers=np.array([900, 3, 800]))
    assert lists.filter(pl.col("customer_key") == 3)["method"].unique().to_list() == ["ease"]
    assert lists["customer_key"].is_sorted()
    for key in (800, 900):
        rows = lists.filter(pl.col("customer_key") == key)
        assert rows["method"].unique().to_list() == ["popularity_segment"]
        assert rows["grade"].unique().to_list() == [UNGRADED]
        assert rows["product_id"][0] in {"tea1", "tea2", "cup7"}
        assert rows["reason"][0] == "popular with new customers"
        assert rows["because_product_id"].null_count() == rows.height
    assert without_contacts(np.array([4, 9])).take(np.array([1])).customers.tolist() == [9]


# The blend


def test_a_blend_adds_places_and_gives_the_reason_of_the_loudest():
    one = history([(0, 1.0, 0, 1), (3, 1.0, 0, 1)])
    by_weights = Ranker(base=base(0, 0, 0, 0), neighbours=sparse.csr_matrix(np.eye(4, k=1, dtype=np.float32)))
    popular = Ranker(base=base(0, 1, 2, 3))
    blend = Blend({"w": by_weights, "p": popular}, {"w": 2.0, "p": 1.0})
    scores = blend.scores(one, NEW_ONLY)
    places = {"w": [NOBODY, 1, 2, NOBODY], "p": [NOBODY, 2, 1, NOBODY]}
    expected = [
        sum(weight / (SOFTENING + places[n][item]) for n, weight in blend.weights.items() if places[n][item] > 0)
        for item in range(4)
    ]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-6)
    lists = rank(blend, one, available=np.ones(4, dtype=bool), policy=NEW_ONLY)
    assert lists.items[0, :3].tolist() == [1, 2, NOBODY]
    said = blend.reasons(one, lists)
    assert said.because[0, 0] == 0
    assert said.ground[0, 0] == Ground.CONTACT
    assert place_worth(np.zeros((1, 4), np.float32), one, policy=Policy())[0].tolist() == pytest.approx(
        [1 / (SOFTENING + place) for place in (1, 2, 3, 4)]
    )


def test_the_blend_takes_in_what_gains_and_leaves_out_what_does_not(shop, fitted):
    from insight_assets.insights.recommendation.grading import truth_of
    from insight_assets.insights.recommendation.interactions import purchases
    from insight_assets_tests.insights.recommendation.shops import day

    earlier = interactions(shop, as_of=day(40)).collect()
    then = fit(earlier, as_of=day(40), tunings=Tunings(methods=fitted.tunings.methods, blend={"ease": 1.0}))
    everybody = history_of(earlier, then.catalogue)
    truth = truth_of(purchases(shop, after=day(40), until=DAY).collect(), everybody, then.catalogue)
    nonsense = Ranker(base=-then.rankers["popularity_all"].base)
    found = choose_blend(
        {"nonsense": nonsense, "ease": then.rankers["ease"]}, everybody.take(truth.rows), truth,
        available=np.ones(len(then.catalogue), dtype=bool), policy=NEW_ONLY,
    )
    assert found == {"ease": 1.0}


# Every method


@pytest.mark.parametrize("method", ["content", "order_rules", "user_knn", "als", "blend", "item_knn", "ease"])
def test_reasons_name_products_of_the_customer_and_in_both_languages(shop, fitted, products, method):
    contacts = interactions(shop, as_of=DAY).collect()
    lists = publish(fitted, history_of(contacts, fitted.catalogue), products, method)
    assert lists["reason"].null_count() == lists["reason_zh"].null_count() == lists["evidence"].null_count() == 0
    named = lists.filter(pl.col("because_product_id").is_not_null())
    assert named.height > 0
    owned = contacts.select("customer_key", because_product_id="product_id")
    assert named.join(owned, on=["customer_key", "because_product_id"], how="anti").is_empty()
    other = named.filter(pl.col("because_product_id") != pl.col("product_id"))
    assert other.select(
        (pl.col("reason").str.contains(pl.col("because_product_id").str.to_uppercase(), literal=True)).all()
    ).item()
    expected = {
        "content": {"same_category", "same_brand", "same_price_range"}, "order_rules": {"one_order"},
        "user_knn": {"similar_customers"}, "als": {"taste"}, "item_knn": {"bought_together"},
        "ease": {"bought_together"},
    }
    if method in expected:
        assert set(other["evidence"]) <= expected[method]
    # What a product shares with the named one is so.
    told = {row["product_id"]: row for row in products.iter_rows(named=True)}
    for kind, column in (("same_category", "category"), ("same_brand", "brand")):
        for row in other.filter(pl.col("evidence") == kind).head(200).iter_rows(named=True):
            assert told[row["product_id"]][column] == told[row["because_product_id"]][column]


def test_products_only_looked_at_can_be_left_out():
    one = history([(0, 1.0, 0, 1), (1, 0.1, 0, 0)])
    ranker = Ranker(base=base(4, 3, 2, 1))
    everything = np.ones(4, dtype=bool)
    for repeat, seen, expected in (
        (True, True, [0, 1, 2, 3]), (True, False, [0, 2, 3, NOBODY]),
        (False, True, [1, 2, 3, NOBODY]), (False, False, [2, 3, NOBODY, NOBODY]),
    ):
        policy = Policy(repeat_purchases=repeat, seen=seen, length=4)
        assert rank(ranker, one, available=everything, policy=policy).items[0].tolist() == expected
