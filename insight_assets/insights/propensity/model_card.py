"""What the card of propensity models says beside what all cards say (see `ml.model_card`)."""

from collections.abc import Iterator

from insight_assets.insights.propensity.models import ENCODER, RULES, KindModels, PropensityModels
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


def model_card(models: PropensityModels, *, smallest_group: int) -> ModelCard:
    """Tell of trained models.

    Args:
        models: The models.
        smallest_group: Fewest customers that a number may speak of.
    """
    days = models.horizon_days
    return ModelCard(
        title="Propensity models",
        says="They foretell whether a customer buys something of a category, of a band of price, or a product, in the "
        f"{days} days after the as-of day. A kind has one model for all its targets.",
        horizon=f"{days} days after the as-of day",
        meant_for=(
            "choosing what a message or a page is about for a customer",
            "expecting how many customers will buy of a target",
        ),
        not_for=(
            "a verdict on one person: a price, a credit, a service withheld",
            "naming causes: reasons are reasons of the score, not of a purchase",
            "rare targets: only those with most buyers are asked for, the others are left to recommendations",
        ),
        taught_by=[told for each in models.kinds.values() for told in _taught_by(each, smallest_group)],
        methods=[told for each in models.kinds.values() for told in _methods(each)],
        calibration=[
            "Pairs with role `calibrate` make probabilities of scores, each kind and method by itself.",
            *(told for each in models.kinds.values() for told in _calibration(each)),
        ],
        scorecards={
            "propensity_scorecard": "every method of every kind out of time, on the horizon after this as-of day once "
            "it has closed; it names the one to publish",
            "ledger_grades": "published targets, held against what customers then bought",
        },
        limits=(
            "A purchase counts, also where it was given back later, unless the shop says that it does not.",
            "Probabilities hold on average over pairs that score alike.",
            "A change of the shop after the newest origin (prices, season, new products) is not known to the models.",
        ),
    )


def _taught_by(each: KindModels, smallest_group: int) -> Iterator[str]:
    yield f"### {each.kind}"
    examples = each.config["examples"]
    if not examples:
        yield "No origin had a closed label window, or too few customers bought any one target."
        return
    yield taught_table(examples, share="bought", smallest_group=smallest_group)
    yield (
        f"{total_told(examples, smallest_group)} A row is a customer and a target. Of the rows that are learnt from "
        "(`fit`, `stop`) those without a purchase are a sample; those with role `calibrate` are of other customers, "
        "all of theirs."
    )


def _methods(each: KindModels) -> Iterator[str]:
    yield f"### {each.kind}"
    apart = each.config.get("kept_apart")
    if apart is None:
        kept = ", ".join(method.name for method in each.methods)
        yield f"Too little to learn from: the rules alone are kept ({kept})."
        return
    yield table(
        [
            {
                "method": method.name,
                "settings": _settings(each, method.name),
                "mean AUC within a target, customers kept apart": reached_told(apart.get(method.name)),
            }
            for method in each.methods
        ]
    )
    yield from shuffled_told(each.config["shuffled_labels"])


def _settings(each: KindModels, method: str) -> str:
    if method in RULES:
        return "a rule"
    return settings_told(each.stack.blend.weights if method == ENCODER.name else each.classifiers[method].settings)


def _calibration(each: KindModels) -> Iterator[str]:
    yield f"### {each.kind}"
    yield calibration_table(each.calibrators, [method.name for method in each.methods])
