"""What the cards of intent models say beside what all cards say (see `ml.model_card`): of customers, and of visits."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import polars as pl

from insight_assets.insights.intent.examples import HORIZONS
from insight_assets.insights.intent.models import GRADED, PUBLISHED, TASK, Pair
from insight_assets.insights.intent.visit_models import last_learnt_day
from insight_assets.insights.intent.visits import LEARNT_DAYS, SEEN
from insight_assets.ml.binary_models import BLEND, RULE, BinaryModels, Rows
from insight_assets.ml.model_card import (
    CALIBRATES,
    LEARNT,
    ModelCard,
    calibration_table,
    groups_of,
    reached_told,
    settings_told,
    shuffled_told,
    table,
    taught_table,
    total_told,
)

Taught = Mapping[str, Mapping[str, Rows]]
"""Question to the rows that taught its graded and its published models."""

NOT_FOR = (
    "a verdict on one person: a price, a credit, a service withheld",
    "naming causes: reasons are reasons of the score, not of a purchase",
)


def customers_card(pairs: Mapping[str, Pair], taught: Taught, *, smallest_group: int) -> ModelCard:
    """Tell of models of customers.

    Args:
        pairs: Models by the name of their question; none where no horizon had closed.
        taught: The rows that taught them.
        smallest_group: Fewest customers that a number may speak of.
    """
    asked = " and ".join(str(days) for days in HORIZONS)
    graded = {task: pair.origin for task, pair in pairs.items()}
    return ModelCard(
        title="Intent models of customers",
        says=f"They foretell whether a known customer, buyer or not, buys within {asked} days after the as-of day.",
        horizon=f"{asked} days after the as-of day, a model each",
        meant_for=(
            "choosing whom to write to, and when",
            "expecting how many customers of a group will buy",
        ),
        not_for=(*NOT_FOR, "visitors who never signed in, of whom nothing is known"),
        taught_by=[
            "The graded models know only what was known at the newest origin whose horizon has closed; the published "
            "ones are the same methods with the same settings, taught by the newer origins too.",
            *_taught_by(taught, by="origin", people="customers", smallest_group=smallest_group),
        ],
        methods=list(_methods(pairs)),
        calibration=_calibration(pairs, whose="customers of the newest origin"),
        scorecards={
            "intent_scorecard": "the graded models out of time, on what followed "
            + (" and ".join(f"{origin} ({task})" for task, origin in graded.items() if origin) or "no origin yet")
            + "; it names the method to publish",
            **{
                f"{TASK.format(days)}_grades": f"published scores, held against what customers did in the {days} days"
                for days in HORIZONS
            },
        },
        limits=(
            f"A horizon is foretold once it has closed at some origin: {_told(pairs) or 'none has'}.",
            "A customer counts as buying by any order within the horizon, however small.",
            "Probabilities hold on average over customers who score alike.",
        ),
    )


def visits_card(pairs: Mapping[str, Pair], taught: Taught, *, as_of: date, smallest_group: int) -> ModelCard:
    """Tell of models of visits.

    Args:
        pairs: Models by the name of their question; none where no earlier visit is known.
        taught: The rows that taught them.
        as_of: As-of day.
        smallest_group: Fewest actors that a number may speak of.
    """
    asked = ", ".join(str(seen) for seen in SEEN)
    return ModelCard(
        title="Intent models of visits",
        says=f"They foretell whether a running visit ends in an order, judged after its first {asked} events.",
        horizon="until the visit ends",
        meant_for=(
            "choosing what a running visit is shown or offered",
            "expecting how many of the visits at some step will order",
        ),
        not_for=NOT_FOR,
        taught_by=[
            f"Visits of the {LEARNT_DAYS} days before the as-of day that went on after so many events: the graded "
            f"models those that ended by {last_learnt_day(as_of)}, the published ones all of them.",
            *_taught_by(taught, by="events_seen", people="actors", smallest_group=smallest_group),
        ],
        methods=list(_methods(pairs)),
        calibration=_calibration(pairs, whose="actors"),
        scorecards={
            "session_intent_scorecard": f"the graded models on the visits after {last_learnt_day(as_of)}, by the "
            "number of events seen; it names the method to publish",
            "session_intent_grades": "published chances, held against how the visits then ended",
        },
        limits=(
            "A visit is known by its first events and the actor's earlier visits; what a person does elsewhere is not.",
            "An order in a later visit does not count.",
            "Probabilities hold on average over visits that score alike.",
        ),
    )


def _told(pairs: Mapping[str, Pair]) -> str:
    closed = [str(days) for days in HORIZONS if TASK.format(days) in pairs]
    return f"{' and '.join(closed)} days" if closed else ""


def _taught_by(taught: Taught, *, by: str, people: str, smallest_group: int) -> Iterator[str]:
    if not taught:
        yield "Nothing that could be learnt from was closed by the as-of day: there is no model."
    for task, which, rows in _each(taught):
        examples = rows.examples.with_columns(
            role=pl.when(pl.Series(rows.apart)).then(pl.lit(CALIBRATES)).otherwise(pl.lit(LEARNT))
        )
        groups = groups_of(examples, [by, "role"], label=pl.col(rows.label), named="bought", key=rows.key)
        groups = [{people if name == "customers" else name: value for name, value in row.items()} for row in groups]
        yield f"### {task}, {which}"
        yield taught_table(groups, share="bought", smallest_group=smallest_group, people=people)
        yield f"{total_told(groups, smallest_group, people=people)} {len(rows.names)} features."


def _methods(pairs: Mapping[str, Pair]) -> Iterator[str]:
    if not pairs:
        yield "None."
    for task, which, models in _models(pairs):
        yield f"### {task}, {which}"
        apart = models.config.get("kept_apart", {})
        yield table(
            [
                {
                    "method": method.name,
                    "settings": _settings(models, method.name),
                    "AUC kept apart": reached_told(apart.get(method.name)),
                }
                for method in models.methods
            ]
        )
        yield from shuffled_told(models.config.get("shuffled_labels"))


def _settings(models: BinaryModels, name: str) -> str:
    if name == RULE.name:
        return f"the rates of {len(models.rates.rates)} cells"
    if name == BLEND.name:
        return settings_told(models.blend.weights)
    return settings_told(models.classifiers[name].settings)


def _calibration(pairs: Mapping[str, Pair], *, whose: str) -> Sequence[str]:
    if not pairs:
        return ["None."]
    told = [f"On {whose} from whom no method learnt (`{CALIBRATES}` above)."]
    for task, which, models in _models(pairs):
        told += [f"### {task}, {which}", calibration_table(models.calibrators, [each.name for each in models.methods])]
    return told


def _each(taught: Taught) -> Iterator[tuple[str, str, Rows]]:
    for task, rows in taught.items():
        for which in (GRADED, PUBLISHED):
            if which in rows:
                yield task, which, rows[which]


def _models(pairs: Mapping[str, Pair]) -> Iterator[tuple[str, str, BinaryModels]]:
    for task, pair in pairs.items():
        for which, models in ((GRADED, pair.graded), (PUBLISHED, pair.published)):
            if models is not None:
                yield task, which, models
