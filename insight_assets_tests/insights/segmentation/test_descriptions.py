"""Words and numbers that describe clusters."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.segmentation.clusters import Clustering, cluster_customers
from insight_assets.insights.segmentation.descriptions import (
    cluster_rows,
    describe_clusters,
    label_clusters,
    summarise,
)
from insight_assets.insights.segmentation.k_means import K_MEANS
from insight_assets_tests.insights.segmentation.planted_customers import planted_customers

AS_OF = date(2026, 3, 1)


@pytest.fixture(scope="module")
def planted():
    return planted_customers(600, seed=5)[0]


@pytest.fixture(scope="module")
def clustering(planted):
    return cluster_customers(planted, method=K_MEANS, seed=1)


@pytest.fixture(scope="module")
def described(planted, clustering):
    return describe_clusters(clustering, planted, as_of=AS_OF, smallest_group=10)


@pytest.mark.parametrize("name", ["cluster_descriptions", "customer_clusters"])
def test_rows_keep_their_contract(name, clustering, described):
    table = contract(name)
    frame = described if name == "cluster_descriptions" else cluster_rows(clustering, as_of=AS_OF)
    assert set(frame.columns) == set(table.polars_schema())
    validate_frame(table, table.conform(frame.lazy()).collect())


def test_labels_say_what_was_planted(clustering):
    labels = label_clusters(clustering)
    assert len({label.en for label in labels.values()}) == len(labels) == 3
    assert "buys often" in labels[1].en or "active" in labels[1].en
    assert "large purchases" in labels[2].en or "discount" in labels[2].en
    assert "long ago" in labels[3].en or "small purchases" in labels[3].en
    assert all(label.zh for label in labels.values())


def test_means_are_those_of_the_cluster(planted, clustering, described):
    members = planted.filter(pl.Series(clustering.labels == 1))
    row = described.row(
        by_predicate=(pl.col("cluster") == 1) & (pl.col("feature") == "age_days"), named=True
    )
    assert row["mean"] == pytest.approx(members["age_days"].mean())
    assert row["overall_mean"] == pytest.approx(planted["age_days"].mean())
    assert row["customers"] == members.height
    assert f"{row['mean']:,.2f}" in row["text_en"]
    assert f"{row['mean']:,.2f}" in row["text_zh"]


def test_importance_ranks_by_difference(described):
    for (_,), rows in described.group_by("cluster"):
        ordered = rows.sort("importance")
        assert ordered["importance"].to_list() == list(range(1, rows.height + 1))
        assert ordered["difference"].abs().is_sorted(descending=True)


def test_order_of_rows_changes_nothing(planted, clustering, described):
    mixed = planted.sample(fraction=1.0, shuffle=True, seed=8)
    again = describe_clusters(clustering, mixed, as_of=AS_OF, smallest_group=10)
    assert again.equals(described)


def test_means_of_too_few_customers_are_not_shown(planted, clustering):
    frame = describe_clusters(clustering, planted, as_of=AS_OF, smallest_group=10_000)
    assert frame["mean"].null_count() == frame.height
    assert not frame["text_en"].str.contains(r"\d+\.\d").any()
    short = summarise(frame, smallest_group=10_000)
    assert short["customers"].null_count() == short.height == 3


@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_small_shop_is_described_as_a_whole(size):
    planted = planted_customers(size, seed=1)[0]
    found = cluster_customers(planted, method=K_MEANS, seed=1)
    frame = describe_clusters(found, planted, as_of=AS_OF, smallest_group=10)
    assert set(frame["label_en"]) <= {"all customers"}
    assert cluster_rows(found, as_of=AS_OF).height == size
    assert frame["silhouette"].null_count() == frame.height


def test_clusters_that_look_alike_get_their_number():
    alike = Clustering(
        method="k_means",
        keys=np.arange(40),
        labels=np.repeat([1, 2], 20),
        distance=np.zeros(40),
        scaled=np.tile([[-1.0], [1.0]], (20, 1)),
        features=("age_days",),
        trials=(),
        chosen=None,
    )
    labels = label_clusters(alike)
    assert {label.en for label in labels.values()} == {
        "average customers (1)",
        "average customers (2)",
    }


def test_who_is_in_no_cluster_is_called_so():
    some_alone = Clustering(
        method="density",
        keys=np.arange(40),
        labels=np.repeat([0, 1, 2], [4, 18, 18]),
        distance=np.zeros(40),
        scaled=np.repeat([[0.0], [-1.0], [1.0]], [4, 18, 18], axis=0),
        features=("age_days",),
        trials=(),
        chosen=None,
    )
    labels = label_clusters(some_alone)
    assert (labels[0].en, labels[0].zh) == ("like nobody else", "未归入任何群组")
    assert (labels[1].en, labels[2].en) == ("young customers", "old customers")
    rows = cluster_rows(some_alone, as_of=AS_OF, graded_origin=AS_OF)
    assert rows["cluster"].min() == 0
    assert set(rows["method"]) == {"density"}
