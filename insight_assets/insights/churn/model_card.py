"""What the card of churn models says beside what all cards say (see `ml.model_card`)."""

from collections.abc import Mapping
from typing import Any

from insight_assets.insights.churn.horizons import TASK
from insight_assets.insights.churn.models import BLEND, ENCODER, NETWORK, RECENCY, ChurnModels
from insight_assets.insights.churn.scoring import told_horizons
from insight_assets.ml.model_card import (
    ModelCard,
    calibration_table,
    reached_told,
    settings_told,
    shuffled_told,
    table,
    taught_table,
    total_told,
)


def model_card(models: ChurnModels, *, smallest_group: int) -> ModelCard:
    """Tell of trained models.

    Args:
        models: The models.
        smallest_group: Fewest customers that a number may speak of.
    """
    config, days = models.config, models.horizon_days
    return ModelCard(
        title="Churn models",
        says=f"They foretell whether a customer who has bought before buys nothing in the {days} days after the as-of "
        "day.",
        horizon=f"{days} days after the as-of day",
        meant_for=(
            "choosing whom to win back, as far as a campaign reaches, and saying why a score is high",
            "expecting how many customers of a group will come back",
        ),
        not_for=(
            "a verdict on one person: a refusal, a price, a credit, a service withheld",
            "naming causes: reasons are reasons of the score",
            "visitors who never bought, who have no churn to foretell",
        ),
        taught_by=_taught_by(config, smallest_group),
        methods=_methods(models),
        calibration=_calibration(models),
        scorecards={
            "churn_scorecard": "every method out of time, on the horizon after this as-of day once it has closed; it "
            "names the one to publish",
            "churn_horizon_scorecard": "the same of the shorter horizons",
            "churn_slices": "the champion by groups of customers",
            "ledger_grades": "published scores, held against what customers then did",
            **{
                f"{TASK.format(day)}_grades": f"the same of what is told of {day} days, once they are over"
                for day in told_horizons(days)
            },
        },
        limits=(
            "A churned customer is one who did not order in the window; who comes back later counts as churned too.",
            "Probabilities hold on average over customers who score alike, as the interval beside each says.",
            "A change of the shop after the newest origin (prices, season, a new channel) is not known to the models.",
        ),
        facts={
            "training code version": str(config["code_version"]),
            "hash of the examples": f"`{config['data_hash']}`",
        },
    )


def _taught_by(config: Mapping[str, Any], smallest_group: int) -> list[str]:
    examples = config["examples"]
    if not examples:
        return ["No origin had a closed label window: the recency rule alone is kept."]
    told = [
        taught_table(examples, share="churned", smallest_group=smallest_group),
        f"{total_told(examples, smallest_group)} Rows with role `fit` and `stop` are learnt from; those with "
        "role `calibrate` are of other customers, at the newest origin alone. No label window reaches beyond the as-of "
        "day.",
    ]
    if features := config.get("features"):
        told.append(f"{len(features)} features: {', '.join(features)}.")
    return told


def _methods(models: ChurnModels) -> list[str]:
    apart = models.config.get("kept_apart")
    if apart is None:
        return ["Too little to learn from. recency: the longer ago the last purchase, the likelier gone."]
    rows = [
        {
            "method": method.name,
            "settings": _settings(models, method.name),
            "AUC on customers kept apart": reached_told(apart.get(method.name)),
        }
        for method in models.methods
    ]
    return [
        table(rows),
        "Settings were chosen by cross-validation among the customers that are learnt from, by mean AUC.",
        *shuffled_told(models.config.get("shuffled_labels")),
    ]


def _settings(models: ChurnModels, name: str) -> str:
    if name == RECENCY.name:
        return "days since the last order"
    if name == ENCODER.name:
        return "chance of no order by `behaviour_vectors`"
    if name == BLEND.name:
        return settings_told(models.blend.weights)
    if name == NETWORK.name:
        kept = min(models.config["epochs"], key=lambda epoch: epoch[2])
        return f"{settings_told(models.config['network'])}, {int(kept[0]) + 1} epochs"
    return settings_told(models.classifiers[name].settings)


def _calibration(models: ChurnModels) -> list[str]:
    halved = (
        " Of these customers one half calibrates the blend, since its weights are learnt from the other."
        if BLEND in models.methods
        else ""
    )
    return [
        f"On the rows with role `calibrate`.{halved}",
        calibration_table(models.calibrators, [method.name for method in models.methods]),
    ]
