"""The model card: what a model is for, what taught it, how, how far to believe it, and what it cannot do.

Here is what is alike for all capabilities: the order of the sections, what a run knows of its own making, tables, and
the hiding of small groups. What only one capability can say is in the `model_card` beside its models. A card is a
function of what was learnt from and the settings: it lies among hashed files, so no clock, no cost and no memory
belongs on it. Nor do grades, which are only known once a horizon has closed; the card says where they stand.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from insight_assets.ml.calibration import Calibrator
from insight_assets.ml.guards import Verdict

CARD_FILE = "MODEL_CARD.md"
LEARNT, CALIBRATES = "learnt from", "calibrates"
TOO_FEW = "too few to tell"
UNDEFINED = "undefined"


@dataclass(frozen=True)
class Making:
    """What a run knows of the model that it makes.

    Attributes:
        asset: Name of the asset.
        as_of: As-of day; nothing after it was read.
        owners: Who answers for the model.
        purpose: What its data is used for, one of `purposes.PURPOSES`.
        silence_is_consent: Whether people who never said anything about the purpose are taken to agree; None for a
            purpose that needs no consent.
        code_version: Version of the code, raised by hand when it makes something else of the same rows.
        reads: Tables that it reads, each with the version of its contract.
        seed: Seed of everything random.
        smallest_group: Fewest customers that a number may speak of.
    """

    asset: str
    as_of: date
    owners: Sequence[str]
    purpose: str
    silence_is_consent: bool | None
    code_version: str
    reads: Sequence[str]
    seed: int
    smallest_group: int


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a capability says of its models; each text is a paragraph or a table.

    Attributes:
        title: Heading.
        says: What the models foretell or find.
        horizon: The time that they speak of.
        meant_for: What they are for.
        not_for: What they must not be used for.
        taught_by: Rows that taught them.
        methods: Methods with their chosen settings.
        calibration: What makes their figures hold.
        scorecards: Asset to what it says of how good they are.
        limits: What they cannot know.
        facts: Further things that the run knew, by name.
    """

    title: str
    says: str
    horizon: str
    meant_for: Sequence[str]
    not_for: Sequence[str]
    taught_by: Sequence[str]
    methods: Sequence[str]
    calibration: Sequence[str]
    scorecards: Mapping[str, str]
    limits: Sequence[str]
    facts: Mapping[str, str] = field(default_factory=dict)


def card_text(card: ModelCard, making: Making, verdicts: Sequence[Verdict] = ()) -> str:
    """Write a card in Markdown.

    Args:
        card: What the capability says.
        making: What the run knows of itself.
        verdicts: What guards found; a model that fails one is not published, and nor is its card.

    Returns:
        The card; equal arguments give equal bytes.
    """
    facts = [{"made": name, "of": value} for name, value in {**_facts(card, making), **card.facts}.items()]
    sections = {
        "For": [listed(card.meant_for)],
        "Not for": [listed(card.not_for)],
        "Taught by": card.taught_by,
        "Methods": card.methods,
        "Calibration": card.calibration,
        "Guards": [_guards(verdicts)],
        "Grades": [listed(f"`{asset}`: {told}" for asset, told in card.scorecards.items())],
        "Limits": [listed(card.limits)],
    }
    parts = [f"# {card.title}", card.says, table(facts)]
    for heading, paragraphs in sections.items():
        parts += [f"## {heading}", *paragraphs]
    return "\n\n".join(parts) + "\n"


def write_card(text: str, directory: Path) -> None:
    """Put a card among the files of its model."""
    (directory / CARD_FILE).write_text(text, encoding="utf-8")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows of equal names as a table; at least one row."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([row[name] for name in rows[0]] for row in rows)]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def listed(points: Iterable[str]) -> str:
    """Write points as a list."""
    return "\n".join(f"- {point}" for point in points)


def settings_told(settings: Mapping[str, Any]) -> str:
    """Write settings in one line, by their names: read from a file they come in another order."""
    return ", ".join(f"{name} {value}" for name, value in sorted(settings.items())) or "none"


def reached_told(value: float | None) -> str:
    """Write a measure such as an AUC."""
    return UNDEFINED if value is None else f"{value:.4f}"


def people_told(count: int, smallest_group: int) -> str:
    """Write a number of people: nobody, or enough of them."""
    return f"{count:,}" if count == 0 or count >= smallest_group else f"fewer than {smallest_group}"


def share_told(share: float | None, rows: int, smallest_group: int) -> str:
    """Write the share of rows with a label, unless those with it, or those without, are few."""
    if share is None:
        return UNDEFINED
    ones = round(share * rows)
    return f"{share:.4f}" if all(side == 0 or side >= smallest_group for side in (ones, rows - ones)) else TOO_FEW


def groups_of(
    examples: pl.DataFrame, by: Sequence[str], *, label: pl.Expr, named: str, key: str = "customer_key"
) -> list[dict[str, Any]]:
    """Count examples in groups.

    Args:
        examples: Rows with the columns of `by` and `key`; may be empty.
        by: Columns that part the groups, in their order.
        label: Whether a row has the label.
        named: What its share is called.
        key: Column of the key of the person.

    Returns:
        A mapping a group, sorted: the group, `customers`, `rows` and the share under its name.
    """
    if examples.is_empty():
        return []
    counted = examples.group_by(by).agg(
        customers=pl.col(key).n_unique(), rows=pl.len(), **{named: label.cast(pl.Float64).mean().round(6)}
    )
    return list(counted.sort(by).iter_rows(named=True))


def taught_table(
    groups: Sequence[Mapping[str, Any]], *, share: str, smallest_group: int, people: str = "customers"
) -> str:
    """Write groups of examples as a table; nothing is told of groups of few people.

    Args:
        groups: At least one; each with `rows`, the share, what parts the groups, and the number of people where that
            is not the number of rows.
        share: Name of the share of the label.
        smallest_group: Fewest people that a number may speak of.
        people: Name of the number of people.
    """
    shown = []
    for group in groups:
        counts = {people, "rows", share}
        several = group.get(people, group["rows"])
        enough = several >= smallest_group
        row = {name: value for name, value in group.items() if name not in counts}
        row[people] = people_told(several, smallest_group)
        if people in group:
            row["rows"] = f"{group['rows']:,}" if enough else TOO_FEW
        row[share] = share_told(group[share], group["rows"], smallest_group) if enough else TOO_FEW
        shown.append(row)
    return table(shown)


def total_told(groups: Sequence[Mapping[str, Any]], smallest_group: int, *, people: str = "customers") -> str:
    """Add up rows in a sentence, unless the sum would tell the size of a group that is hidden."""
    if any(0 < group.get(people, group["rows"]) < smallest_group for group in groups):
        return f"Some groups are of fewer than {smallest_group} {people}, so no sum is told."
    return f"Together {sum(group['rows'] for group in groups):,} rows."


def calibration_table(calibrators: Mapping[str, Calibrator], methods: Collection[str]) -> str:
    """Say of each method what makes probabilities of its scores.

    Args:
        calibrators: By name of the method.
        methods: Names of the methods, in their order; at least one.
    """
    return table(
        [
            {
                "method": name,
                "probability": f"isotonic regression with {len(calibrators[name].scores)} knots"
                if calibrators[name].scores
                else "the score as it is: too few rows to calibrate",
                "interval": f"95 %, learnt in {len(calibrators[name].bands)} groups of like scores"
                if calibrators[name].bands
                else "0 to 1: too few rows to know",
            }
            for name in methods
        ]
    )


def shuffled_told(control: Mapping[str, float | None] | None) -> list[str]:
    """Say what was learnt of labels that mean nothing, where that was tried and defined."""
    reached = (control or {}).get("auc")
    if reached is None:
        return []
    return [f"Control: trained on shuffled labels, the AUC on customers kept apart is {reached:.3f}."]


def _facts(card: ModelCard, making: Making) -> dict[str, str]:
    return {
        "asset": f"`{making.asset}`",
        "as of": making.as_of.isoformat(),
        "horizon": card.horizon,
        "owner": ", ".join(making.owners),
        "purpose": f"{making.purpose}: {_consent(making)}",
        "reads": ", ".join(making.reads) or "no table under contract",
        "code version": making.code_version,
        "seed": str(making.seed),
        "smallest group told of": f"{making.smallest_group} customers",
    }


def _consent(making: Making) -> str:
    if making.silence_is_consent is None:
        return "needs no consent"
    if making.silence_is_consent:
        return "without the people who refused it; who never said anything is taken to agree"
    return "only of people who agreed to it; who never said anything is left out"


def _guards(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "No guard judges these models."
    return table(
        [
            {
                "guard": verdict.guard,
                "verdict": "passed" if verdict.passed else "not passed",
                "figures": settings_told(verdict.figures),
            }
            for verdict in verdicts
        ]
    )
