"""What the clusterings read of a customer, and the common scale on which all of them compare customers.

How customers are divided belongs to `clusters` and the methods beside it; what a feature is called in words is said
here, because the words belong to the feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

_NORMAL_IQR = 1.349
# Shares are mostly 0: their own spread would blow a return of 3 % up to a separate kind of customer.
# A quarter of the range as unit lets them count only where they are large.
_SHARE_UNIT = 0.25
_CLIP = 3.0


@dataclass(frozen=True)
class ClusterFeature:
    """A feature that the clustering reads.

    Attributes:
        name: column of `customer_features`.
        scale: `log` for amounts and counts with a long tail, `plain` for other quantities, `share`
            for shares from 0 to 1.
        high_en: what a cluster far above the mean is called, in English; `low_en` far below.
        low_en: see `high_en`.
        high_zh: the same in Chinese.
        low_zh: the same in Chinese.
        measure_en: what the feature measures, with its unit, in English.
        measure_zh: the same in Chinese.
    """

    name: str
    scale: Literal["log", "plain", "share"]
    high_en: str
    low_en: str
    high_zh: str
    low_zh: str
    measure_en: str
    measure_zh: str


CLUSTER_FEATURES = (
    ClusterFeature(
        "days_since_last_order",
        "log",
        "last bought long ago",
        "bought recently",
        "久未购买",
        "近期购买",
        "days since the last purchase",
        "距上次购买天数",
    ),
    ClusterFeature(
        "purchase_days_lifetime",
        "log",
        "buys often",
        "buys rarely",
        "购买频繁",
        "很少购买",
        "days with a purchase",
        "购买天数",
    ),
    ClusterFeature(
        "mean_purchase_value",
        "log",
        "large purchases",
        "small purchases",
        "单次金额高",
        "单次金额低",
        "mean value of a purchase day",
        "单日平均购买金额",
    ),
    ClusterFeature(
        "age_days",
        "plain",
        "old customers",
        "young customers",
        "老客户",
        "新近客户",
        "days since the first purchase",
        "距首次购买天数",
    ),
    ClusterFeature(
        "lines_per_order_365d",
        "log",
        "broad baskets",
        "narrow baskets",
        "购物篮丰富",
        "购物篮单一",
        "lines per purchase in a year",
        "一年内单笔行数",
    ),
    ClusterFeature(
        "active_days_90d",
        "log",
        "active in the last 90 days",
        "inactive in the last 90 days",
        "近90天活跃",
        "近90天不活跃",
        "active days in 90 days",
        "近90天活跃天数",
    ),
    ClusterFeature(
        "discount_share_365d",
        "share",
        "buys at a discount",
        "pays full price",
        "偏好折扣",
        "少用折扣",
        "discount share in a year",
        "一年内折扣占比",
    ),
    ClusterFeature(
        "refund_share_lifetime",
        "share",
        "returns much",
        "returns little",
        "退款多",
        "退款少",
        "refund share",
        "退款占比",
    ),
)
"""Features of the clustering; money so far is left out because it is frequency times value."""

MONEY = "net_lifetime"
"""Feature whose mean numbers the clusters."""


def buyers(
    customer_features: pl.LazyFrame, *, features: Sequence[ClusterFeature] = CLUSTER_FEATURES
) -> pl.DataFrame:
    """Select what the clustering reads of customers with at least one purchase, ascending by key.

    Args:
        customer_features: rows of one as-of day, in any order.
        features: what to cluster on.
    """
    return (
        customer_features.filter(pl.col("purchase_days_lifetime") > 0)
        .select("customer_key", MONEY, *(feature.name for feature in features))
        .sort("customer_key")
        .collect()
    )


def scale_features(
    customers: pl.DataFrame, features: Sequence[ClusterFeature]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scale features robustly: log where told, median 0, interquartile range of a unit normal.

    Shares keep a fixed unit. Missing values become the median, values beyond three units are drawn
    in, and a feature that does not vary is left out.

    Args:
        customers: one row a customer with the features' columns.
        features: what to scale.

    Returns:
        Scaled values, shape (n, d), and the names of the d features kept.
    """
    columns, names = [], []
    for feature in features:
        values = customers[feature.name].cast(pl.Float64).to_numpy().astype(np.float64)
        known = np.isfinite(values)
        if not known.any():
            continue
        if feature.scale == "log":
            values = np.log1p(np.maximum(values, 0.0))
        if feature.scale == "share":
            values = np.clip(values, 0.0, 1.0)
        values = np.where(known, values, np.median(values[known])) - np.median(values[known])
        if np.ptp(values) == 0:
            continue
        columns.append(np.clip(values / _unit(values, feature.scale), -_CLIP, _CLIP))
        names.append(feature.name)
    if not columns:
        return np.zeros((customers.height, 0)), ()
    return np.column_stack(columns), tuple(names)


def _unit(values: np.ndarray, scale: str) -> float:
    if scale == "share":
        return _SHARE_UNIT
    low, high = np.quantile(values, [0.25, 0.75])
    # Half the customers at one value can make the range 0; the standard deviation still tells.
    return float((high - low) / _NORMAL_IQR if high > low else values.std())
