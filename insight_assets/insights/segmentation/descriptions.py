"""What sets each cluster apart, in numbers and in words of two languages.

Reads a finished clustering; how clusters are found belongs to `clusters`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.segmentation.clusters import NO_CLUSTER, Clustering
from insight_assets.insights.segmentation.scaling import CLUSTER_FEATURES, ClusterFeature

# In standard deviations: Cohen's small effect is where a difference is worth a word at all.
_WORTH_A_WORD = 0.2
_LABEL_WORDS = 2
_DIGITS = 6
_EVERYBODY_EN, _EVERYBODY_ZH = "all customers", "全部客户"
_AVERAGE_EN, _AVERAGE_ZH = "average customers", "普通客户"
_ALONE_EN, _ALONE_ZH = "like nobody else", "未归入任何群组"


@dataclass(frozen=True)
class Label:
    """Name of a cluster in two languages."""

    en: str
    zh: str


def describe_clusters(
    clustering: Clustering,
    customers: pl.DataFrame,
    *,
    as_of: date,
    smallest_group: int,
    features: Sequence[ClusterFeature] = CLUSTER_FEATURES,
) -> pl.DataFrame:
    """Describe each cluster by how its features differ from those of all clustered customers.

    Args:
        clustering: a finished clustering.
        customers: the rows that were clustered, in any order.
        as_of: as-of day.
        smallest_group: k of k-anonymity: a mean over fewer known values is not shown.
        features: what was clustered on, with its words.

    Returns:
        Rows of the contract `cluster_descriptions`, ascending by cluster and importance; empty when
        there is nobody.
    """
    customers = customers.sort("customer_key")
    known = [feature for feature in features if feature.name in clustering.features]
    differences = _differences(clustering)
    labels = label_clusters(clustering, features=features)
    rows = []
    for cluster, label in labels.items():
        members = clustering.labels == cluster
        strength = differences[cluster]
        order = np.argsort(-np.abs(strength), kind="stable")
        for rank, position in enumerate(order, start=1):
            feature = known[position]
            values = customers[feature.name].cast(pl.Float64)
            inside = _mean(values.filter(pl.Series(members)), smallest_group)
            overall = _mean(values, smallest_group)
            difference = round(float(strength[position]), _DIGITS)
            rows.append(
                {
                    "as_of": as_of,
                    "cluster": cluster,
                    "feature": feature.name,
                    "customers": int(members.sum()),
                    "share": round(float(members.mean()), _DIGITS),
                    "mean": inside,
                    "overall_mean": overall,
                    "difference": difference,
                    "importance": rank,
                    "text_en": _sentence_en(feature, difference, inside, overall),
                    "text_zh": _sentence_zh(feature, difference, inside, overall),
                    "label_en": label.en,
                    "label_zh": label.zh,
                    "clusters": len(labels.keys() - {NO_CLUSTER}),
                    "silhouette": clustering.chosen.silhouette if clustering.chosen else None,
                    "stability": clustering.chosen.stability if clustering.chosen else None,
                    "method": clustering.method,
                }
            )
    return pl.DataFrame(rows, schema=_SCHEMA)


def label_clusters(
    clustering: Clustering, *, features: Sequence[ClusterFeature] = CLUSTER_FEATURES
) -> Mapping[int, Label]:
    """Name each cluster after the one or two features that set it apart most.

    Clusters that would share a name get a further feature, and in the end their number. Who is in no cluster is called
    so: what those customers have in common is that they have nothing in common.

    Returns:
        Names by cluster, ascending.
    """
    clusters = sorted({int(cluster) for cluster in clustering.labels})
    if NO_CLUSTER in clusters and len(clusters) > 1:
        within = replace(
            clustering,
            labels=clustering.labels[clustering.labels != NO_CLUSTER],
            scaled=clustering.scaled[clustering.labels != NO_CLUSTER],
        )
        return {NO_CLUSTER: Label(_ALONE_EN, _ALONE_ZH), **label_clusters(within, features=features)}
    if len(clusters) <= 1:
        return {cluster: Label(_EVERYBODY_EN, _EVERYBODY_ZH) for cluster in clusters}
    known = [feature for feature in features if feature.name in clustering.features]
    differences = _differences(clustering)
    for words in range(min(_LABEL_WORDS, len(known)), len(known) + 1):
        labels = {
            cluster: _label(known, differences[cluster], words=words) for cluster in clusters
        }
        if len(set(labels.values())) == len(clusters):
            return labels
    return {
        cluster: Label(f"{label.en} ({cluster})", f"{label.zh}（{cluster}）")
        for cluster, label in labels.items()
    }


def cluster_rows(
    clustering: Clustering,
    *,
    as_of: date,
    graded_origin: date | None = None,
    features: Sequence[ClusterFeature] = CLUSTER_FEATURES,
) -> pl.DataFrame:
    """Return the rows of the contract `customer_clusters`, ascending by key.

    Args:
        clustering: a finished clustering.
        as_of: as-of day.
        graded_origin: origin of the scorecard that chose the method.
        features: what was clustered on, with its words.
    """
    labels = label_clusters(clustering, features=features)
    names = pl.DataFrame(
        {
            "cluster": list(labels),
            "label_en": [label.en for label in labels.values()],
            "label_zh": [label.zh for label in labels.values()],
        },
        schema={"cluster": pl.Int32, "label_en": pl.String, "label_zh": pl.String},
    )
    rows = pl.DataFrame(
        {
            "customer_key": clustering.keys,
            "cluster": clustering.labels,
            "distance": clustering.distance,
        },
        schema={"customer_key": pl.Int64, "cluster": pl.Int32, "distance": pl.Float64},
    )
    return rows.with_columns(
        pl.lit(as_of, dtype=pl.Date).alias("as_of"),
        pl.lit(clustering.method).alias("method"),
        pl.lit(graded_origin, dtype=pl.Date).alias("graded_origin"),
    ).join(names, on="cluster", how="left", maintain_order="left")


def summarise(described: pl.DataFrame, *, smallest_group: int) -> pl.DataFrame:
    """Summarise `cluster_descriptions` for people: a row a cluster with its most telling sentence.

    Args:
        described: rows of `describe_clusters`.
        smallest_group: k of k-anonymity; the size of a smaller cluster is not shown.

    Returns:
        Columns cluster, label_en, label_zh, customers, share, telling.
    """
    small = pl.col("customers") < smallest_group
    return described.filter(pl.col("importance") == 1).select(
        "cluster",
        "label_en",
        "label_zh",
        pl.when(~small).then(pl.col("customers")).alias("customers"),
        pl.when(~small).then(pl.col("share")).alias("share"),
        pl.col("text_en").alias("telling"),
    )


def _differences(clustering: Clustering) -> dict[int, np.ndarray]:
    clusters = sorted({int(cluster) for cluster in clustering.labels})
    if not clusters:
        return {}
    spread = clustering.scaled.std(axis=0)
    centre = clustering.scaled.mean(axis=0)
    return {
        cluster: (
            (clustering.scaled[clustering.labels == cluster].mean(axis=0) - centre) / spread
        ).round(_DIGITS)
        for cluster in clusters
    }


def _label(known: Sequence[ClusterFeature], differences: np.ndarray, *, words: int) -> Label:
    order = np.argsort(-np.abs(differences), kind="stable")
    told = [position for position in order if abs(differences[position]) >= _WORTH_A_WORD][:words]
    if not told:
        return Label(_AVERAGE_EN, _AVERAGE_ZH)
    english = [
        known[position].high_en if differences[position] > 0 else known[position].low_en
        for position in told
    ]
    chinese = [
        known[position].high_zh if differences[position] > 0 else known[position].low_zh
        for position in told
    ]
    return Label(", ".join(english), "、".join(chinese))


def _sentence_en(
    feature: ClusterFeature, difference: float, inside: float | None, overall: float | None
) -> str:
    words = "about average"
    if abs(difference) >= _WORTH_A_WORD:
        words = feature.high_en if difference > 0 else feature.low_en
    if inside is None or overall is None:
        return f"{words} ({feature.measure_en})"
    return f"{words}: {feature.measure_en} {inside:,.2f} against {overall:,.2f} overall"


def _sentence_zh(
    feature: ClusterFeature, difference: float, inside: float | None, overall: float | None
) -> str:
    words = "接近平均"
    if abs(difference) >= _WORTH_A_WORD:
        words = feature.high_zh if difference > 0 else feature.low_zh
    if inside is None or overall is None:
        return f"{words}（{feature.measure_zh}）"
    return f"{words}：{feature.measure_zh} {inside:,.2f}，总体 {overall:,.2f}"


def _mean(values: pl.Series, smallest_group: int) -> float | None:
    values = values.drop_nulls()
    if values.len() < smallest_group:
        return None
    return round(float(values.to_numpy().mean()), _DIGITS)


_SCHEMA = pl.Schema(
    {
        "as_of": pl.Date,
        "cluster": pl.Int32,
        "feature": pl.String,
        "customers": pl.Int64,
        "share": pl.Float64,
        "mean": pl.Float64,
        "overall_mean": pl.Float64,
        "difference": pl.Float64,
        "importance": pl.Int32,
        "text_en": pl.String,
        "text_zh": pl.String,
        "label_en": pl.String,
        "label_zh": pl.String,
        "clusters": pl.Int32,
        "silhouette": pl.Float64,
        "stability": pl.Float64,
        "method": pl.String,
    }
)
