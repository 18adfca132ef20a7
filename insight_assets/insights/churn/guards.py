"""What labels of churn must obey, and what training of churn models must not show, before anything is published."""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

import polars as pl

from insight_assets.ml.guards import (
    BASE_RATE,
    WINDOWS_OBSERVED,
    Verdict,
    judge_base_rate,
    judge_learning,
    judge_windows,
)
from insight_assets.ml.origins import Origin

LABELS_OBEY = "the_active_have_not_churned"
SOMEONE_TO_LEARN_FROM = "someone_is_labelled"

LABEL_GUARDS: Mapping[str, str] = {
    SOMEONE_TO_LEARN_FROM: "Where somebody had bought by a closed origin, there are labels",
    LABELS_OBEY: "Who ordered in the label window has not churned and who did not has, told by the days of the orders",
    WINDOWS_OBSERVED: "All label windows had closed by the as-of day and each of their days is published",
    BASE_RATE: "Neither nearly all nor nearly none of the labels say that somebody churned",
}


def judge_labels(
    examples: pl.DataFrame, *, as_of: date, horizon_days: int, published: Collection[date], buyers: int
) -> list[Verdict]:
    """Hold examples against what labels must obey.

    Args:
        examples: Rows of the contract `churn_examples`; may be empty.
        as_of: As-of day of the examples.
        horizon_days: Length of the label windows.
        published: Days of `customer_days` that are published.
        buyers: Customers who had bought by the newest closed origin; 0 when there is no such origin.

    Returns:
        A verdict for each of `LABEL_GUARDS`.
    """
    verdicts = [
        Verdict(SOMEONE_TO_LEARN_FROM, bool(examples.height or not buyers), {"rows": examples.height, "buyers": buyers})
    ]
    if examples.is_empty():
        return [*verdicts, *(Verdict(guard, passed=True) for guard in LABEL_GUARDS if guard != SOMEONE_TO_LEARN_FROM)]
    wrong = examples.filter(
        (pl.col("return_days").is_null() != pl.col("churned")) | (pl.col("return_days") > pl.col("horizon_days"))
    ).height
    origins = [Origin(day, horizon_days) for day in examples["origin"].unique().sort()]
    other = examples.filter(pl.col("horizon_days") != horizon_days).height
    return [
        *verdicts,
        Verdict(LABELS_OBEY, wrong == 0, {"rows": examples.height, "rows_with_a_wrong_label": wrong}),
        judge_windows(origins, as_of=as_of, published=published, strange_rows=other),
        judge_base_rate(examples.height, float(examples["churned"].mean()), named="churn_rate"),
    ]


def judge_training(config: Mapping[str, Any]) -> list[Verdict]:
    """Hold what training noted down against what no honest training shows.

    Args:
        config: The config of `ChurnModels`.

    Returns:
        A verdict for each of `MODEL_GUARDS`; all passed where the rule alone was kept.
    """
    apart = next((count for count in config["examples"] if count["role"] == "calibrate"), None)
    churned = 0 if apart is None else round(apart["rows"] * apart["churned"])
    return judge_learning(
        config.get("feature_alarms", []),
        config.get("shuffled_labels") or {},
        config.get("kept_apart", {}),
        apart=None if apart is None else (churned, apart["rows"] - churned),
    )
