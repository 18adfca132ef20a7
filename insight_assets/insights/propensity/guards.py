"""What must hold before propensity models may be published, and what makes a scorecard suspicious.

Guards look at examples and at what training noted down; they decide nothing about how good a method is. What a model of
labels has to obey is the same for all and judged kind by kind; figures hold no customer.
"""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

from insight_assets.features.examples import CALIBRATE
from insight_assets.insights.propensity.examples import Examples
from insight_assets.insights.propensity.grading import PRIMARY, GradedPropensity
from insight_assets.insights.propensity.models import PropensityModels
from insight_assets.ml.guards import MODEL_GUARDS as GUARDS_OF_A_MODEL
from insight_assets.ml.guards import WINDOWS_OBSERVED, Verdict, judge_learning, judge_windows, over_models
from insight_assets.ml.origins import Origin

APART = "nobody_teaches_and_calibrates"
EXAMPLE_GUARDS: Mapping[str, str] = {
    WINDOWS_OBSERVED: "All label windows had closed by the as-of day and each of their days is published",
    APART: "No customer is learnt from and calibrates",
}
MODEL_GUARDS: Mapping[str, str] = EXAMPLE_GUARDS | GUARDS_OF_A_MODEL

TOO_GOOD_CHECK = "not_too_good_to_be_true"
PROBABILITIES_CHECK = "probabilities_hold"
PURCHASES_CHECK = "something_was_bought"
TOO_GOOD = 0.95
"""Mean AUC within a target above which a leak is likelier than a good model."""

LARGEST_ERROR = 0.1
"""Mean gap between predicted and observed share of buyers above which probabilities mislead: a season, most often."""

SCORECARD_CHECKS: Mapping[str, str] = {
    TOO_GOOD_CHECK: f"No champion's mean AUC within a target is above {TOO_GOOD}; above it a leak is likelier",
    PROBABILITIES_CHECK: f"The champions' probabilities are off by at most {LARGEST_ERROR} on average",
    PURCHASES_CHECK: "Of every kind with targets, some customers bought one within the horizon",
}


def judge_examples(
    examples: Examples, *, as_of: date, horizon_days: int, published: Collection[date]
) -> list[Verdict]:
    """Hold examples against what labels must obey.

    Args:
        examples: As `build_pair_examples` gives them.
        as_of: As-of day of the examples.
        horizon_days: Length of the label windows.
        published: Days of `customer_days` that are published.

    Returns:
        A verdict for each of `EXAMPLE_GUARDS`.
    """
    days = sorted({day for rows in examples.values() for day in rows["origin"].unique()})
    both = sum(
        rows.select("customer_key", apart=rows["role"] == CALIBRATE).unique()["customer_key"].is_duplicated().sum()
        for rows in examples.values()
    )
    return [
        judge_windows([Origin(day, horizon_days) for day in days], as_of=as_of, published=published),
        Verdict(APART, both == 0, {"customers_on_both_sides": int(both)}),
    ]


def judge_models(models: PropensityModels) -> list[Verdict]:
    """Hold what training noted down against what no honest training shows.

    Args:
        models: Trained or loaded models.

    Returns:
        A verdict for each of the model guards, over all kinds together.
    """
    return over_models({kind: _judged(each.config) for kind, each in models.kinds.items()})


def _judged(config: Mapping[str, Any]) -> list[Verdict]:
    apart = next((count for count in config["examples"] if count["role"] == CALIBRATE), None)
    bought = 0 if apart is None else round(apart["rows"] * apart["bought"])
    return judge_learning(
        config.get("feature_alarms", []), config.get("shuffled_labels") or {}, config.get("kept_apart", {}),
        apart=None if apart is None else (bought, apart["rows"] - bought),
    )  # fmt: skip


def judge_scorecard(graded: GradedPropensity) -> list[Verdict]:
    """Look for what makes a scorecard suspicious.

    Args:
        graded: The outcome of a grading.

    Returns:
        A verdict for each of `SCORECARD_CHECKS`.
    """
    reached = {kind: graded.champion_metric(kind, PRIMARY) for kind in graded.truth}
    errors = {kind: graded.champion_metric(kind, "calibration_error") for kind in graded.truth}
    bought = {kind: round(float(truth.mean()), 6) for kind, truth in graded.truth.items()}
    return [
        Verdict(TOO_GOOD_CHECK, all((value or 0) <= TOO_GOOD for value in reached.values()), _known(reached)),
        Verdict(PROBABILITIES_CHECK, all((value or 0) <= LARGEST_ERROR for value in errors.values()), _known(errors)),
        Verdict(PURCHASES_CHECK, all(share > 0 for share in bought.values()), bought),
    ]


def _known(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None}
