"""What the card of the clustering says beside what all cards say (see `ml.model_card`).

No model is stored: clusters are found anew as of each day, and the card lies in the metadata of `customer_clusters`.
"""

import numpy as np

from insight_assets.insights.segmentation.clusters import LEAST_STABILITY, NO_CLUSTER, Clustering, Trial
from insight_assets.insights.segmentation.grading import METHODS, Publication
from insight_assets.ml.model_card import TOO_FEW, ModelCard, people_told, table


def model_card(clustering: Clustering, publication: Publication, *, smallest_group: int) -> ModelCard:
    """Tell of a finished clustering.

    Args:
        clustering: The clustering.
        publication: What said by which method customers may be divided.
        smallest_group: Fewest customers that a number may speak of.
    """
    return ModelCard(
        title="Clusters of customers",
        says="They divide the customers who have bought into groups that are alike in what and how they buy.",
        horizon="none: they describe the past up to the as-of day",
        meant_for=("getting to know the kinds of customers there are", "telling groups apart in reports"),
        not_for=(
            "a verdict on one person: a cluster says nothing of its single members",
            "comparing days: clusters are found anew each day, and a number names another group tomorrow",
            "foretelling: that clusters tell of later spend is graded, and is not what they are made for",
        ),
        taught_by=_taught_by(clustering, smallest_group),
        methods=_methods(clustering, publication),
        calibration=["Nothing is calibrated: a cluster is a name and no probability."],
        scorecards={
            "clustering_scorecard": "every method by how much of the spend in the horizon after an origin its clusters "
            + ("explain; none has closed yet" if publication.origin is None else f"explain: of {publication.origin}"),
        },
        limits=(
            "Customers who never bought are in no cluster.",
            "Features are cut off far from the mean, so that single customers make no cluster.",
            _soundness(clustering.chosen),
        ),
    )


def _taught_by(clustering: Clustering, smallest_group: int) -> list[str]:
    alone = int((clustering.labels == NO_CLUSTER).sum())
    numbers, sizes = np.unique(clustering.labels[clustering.labels != NO_CLUSTER], return_counts=True)
    rows = [{"cluster": "all customers", "customers": people_told(len(clustering.keys), smallest_group)}]
    rows += [
        {"cluster": str(number), "customers": people_told(size, smallest_group)}
        for number, size in zip(numbers.tolist(), sizes.tolist(), strict=True)
    ]
    if alone:
        rows.append({"cluster": "in no cluster", "customers": people_told(alone, smallest_group)})
    return [table(rows), f"Compared by {', '.join(clustering.features) or 'nothing that differs between them'}."]


def _methods(clustering: Clustering, publication: Publication) -> list[str]:
    chosen = clustering.chosen
    rows = [
        {
            "method": method.name,
            "tries": str(len(clustering.trials)) if method is publication.method else "not asked",
            "chosen": (chosen.shape if chosen else "one single cluster") if method is publication.method else "",
            "silhouette": _number(chosen and chosen.silhouette) if method is publication.method else "",
            "stability": _number(chosen and chosen.stability) if method is publication.method else "",
        }
        for method in METHODS
    ]
    why = (
        "the simple rule, since no horizon has closed yet"
        if publication.origin is None
        else f"the champion of the scorecard of {publication.origin}"
    )
    return [
        table(rows),
        f"{publication.method.name} is {why}. Of its tries with no cluster too small, the best whose stability over "
        f"resamples reaches {LEAST_STABILITY} is kept.",
    ]


def _number(value: float | None) -> str:
    return TOO_FEW if value is None else f"{value:.4f}"


def _soundness(chosen: Trial | None) -> str:
    if chosen is None:
        return "No division was sound: there is one single cluster."
    if (chosen.stability or 0.0) < LEAST_STABILITY:
        return "The division is the most stable one there was, and still comes out otherwise on resampled customers."
    return "The division comes out alike on resampled customers; that other divisions do as well is not excluded."
