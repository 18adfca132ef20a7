"""From counted sets to the published table: which associations may be believed and shown.

A set is published if its products stand together surely more often than by chance and enough customers bought it so.
Each is written once for every product that it may lead to.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from insight_assets.insights.associations.baskets import Baskets
from insight_assets.insights.associations.counting import (
    FrequentSets,
    SizedCounts,
    counts_by_size,
    distinct_customers,
    frequent_sets,
)
from insight_assets.insights.associations.significance import adjusted, chance_p, chance_p_by_size, lift_interval

WINDOW_DAYS = 180
"""Days of orders that are looked at: half a year, so that seasons pass and products that are gone disappear."""

MIN_SUPPORT = 0.001
"""Least share of the baskets: below it, an association moves nothing in a shop."""

FEWEST_BASKETS = 5
"""Least number of baskets, whatever the share: the interval of a lift takes counts for large."""

FALSE_DISCOVERIES = 0.05
"""Share of the published sets that may owe their place to chance (Benjamini-Hochberg)."""

MOST_SETS = 5000
"""Sets that are published: those whose lift is surely largest."""

TRIPLES_AT_ONCE = 50_000
"""Triples that are tested in one step: 20 MB for their counts by the size of the basket."""

_DIGITS = 6


@dataclass(frozen=True)
class Associations:
    """What was found in the baskets of a window.

    Attributes:
        baskets: baskets counted.
        min_baskets: baskets that a set had to stand in.
        pairs_tested: pairs that could have been found.
        triples_tested: triples that could have been found.
        frequent: sets in enough baskets.
        significant: those among them that chance does not explain.
        rows: the columns of the contract `product_associations` but the names, by rank.
    """

    baskets: int
    min_baskets: int
    pairs_tested: int
    triples_tested: int
    frequent: int
    significant: int
    rows: pl.DataFrame


def associate(
    baskets: Baskets,
    *,
    as_of: date,
    window_days: int = WINDOW_DAYS,
    smallest_group: int,
    min_support: float = MIN_SUPPORT,
    false_discoveries: float = FALSE_DISCOVERIES,
    most_sets: int = MOST_SETS,
) -> Associations:
    """Find the products that are bought together.

    For a pair the question is whether the two stand in the same baskets more often than by chance, given how many
    baskets hold each. It is asked twice, of all baskets (Fisher's exact test) and of baskets of the same size alone,
    and the larger p-value counts (see `significance`). For a triple and the product c that it leads to, the question is
    whether a and b lead to c together: the largest of the p-values of both tests of whether b leads to c among the
    baskets with a, and a to c among those with b. A triple that follows from its pairs is not found.

    The family of tests is chosen by counts that say nothing of the outcome (all pairs of products in enough baskets;
    all pairs of frequent pairs that share a product), and whatever then stands in too few baskets counts as not found.

    Args:
        baskets: baskets of the window.
        as_of: last day of the window.
        window_days: length of the window, as it is written in the rows.
        smallest_group: customers that must have bought a set in one order for it to be shown.
        min_support: share of the baskets that a set must stand in.
        false_discoveries: bound on the q-value of what is published.
        most_sets: sets published at most.

    Returns:
        The associations; without rows where there are none.
    """
    min_baskets = max(FEWEST_BASKETS, int(np.ceil(min_support * len(baskets))))
    found = frequent_sets(baskets.contents, min_baskets=min_baskets)
    sized = counts_by_size(baskets.contents, found)
    pairs_tested, triples_tested = family_sizes(found)
    rules = pl.concat(
        [_pair_rules(found, sized, tests=pairs_tested), _triple_rules(found, sized, tests=triples_tested)]
    )
    believed = rules.filter(pl.col("q_value") <= false_discoveries)
    sets = believed.select("a", "b", "c").unique()
    pairs, triples = sets.filter(pl.col("c") < 0), sets.filter(pl.col("c") >= 0)
    counted = pl.concat(
        part.with_columns(
            customers=pl.Series(
                distinct_customers(baskets.contents, baskets.customers, part.select(columns).to_numpy())
            )
        )
        for part, columns in ((pairs, ["a", "b"]), (triples, ["a", "b", "c"]))
    )
    shown = believed.join(counted.filter(pl.col("customers") >= smallest_group), on=["a", "b", "c"], how="inner")
    surest = (
        shown.group_by("a", "b", "c")
        .agg(pl.col("lift_low").max(), pl.col("together").first())
        .sort("lift_low", "together", "a", "b", "c", descending=[True, True, False, False, False])
        .head(most_sets)
        .select("a", "b", "c")
    )
    shown = shown.join(surest, on=["a", "b", "c"], how="semi")
    return Associations(
        baskets=len(baskets),
        min_baskets=min_baskets,
        pairs_tested=pairs_tested,
        triples_tested=triples_tested,
        frequent=len(found.pairs) + len(found.triples),
        significant=sets.height,
        rows=_rows(shown, baskets, as_of=as_of, window_days=window_days),
    )


def named(rows: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """Add the last known names of the products.

    Args:
        rows: `Associations.rows`.
        products: columns product_id and product_name as of the day.

    Returns:
        The columns of the contract `product_associations`, by rank.
    """
    for role in ("product", "with_product", "then_product"):
        names = products.select(pl.col("product_id").alias(f"{role}_id"), pl.col("product_name").alias(f"{role}_name"))
        rows = rows.join(names, on=f"{role}_id", how="left")
    order = ["as_of", "rank", "size"]
    order += [f"{role}_{part}" for role in ("product", "with_product", "then_product") for part in ("id", "name")]
    return rows.select(*order, *(name for name in rows.columns if name not in order)).sort("rank")


def family_sizes(found: FrequentSets) -> tuple[int, int]:
    """Count the tests that could have found something: pairs, and triples with the product that they lead to."""
    products = len(found.counted)
    partners = np.bincount(found.pairs.ravel()) if len(found.pairs) else np.zeros(0, dtype=np.int64)
    return products * (products - 1) // 2, int((partners * (partners - 1) // 2).sum())


def pair_rules(baskets: Baskets, *, min_baskets: int) -> pl.DataFrame:
    """Test every pair of products in enough baskets, in both directions.

    Args:
        baskets: the baskets.
        min_baskets: least number of baskets with both.

    Returns:
        Columns product and then_product (columns of the baskets), together, expected, confidence, p_value and q_value,
        among others.
    """
    found = frequent_sets(baskets.contents, min_baskets=min_baskets, largest=2)
    sized = counts_by_size(baskets.contents, found)
    return _pair_rules(found, sized, tests=family_sizes(found)[0])


def _pair_rules(found: FrequentSets, sized: SizedCounts, *, tests: int) -> pl.DataFrame:
    """Both directions of every frequent pair."""
    a, b = found.pairs.T
    together, n_a, n_b = found.pair_counts, found.counts[a], found.counts[b]
    expected, p_values = _asked_twice(
        together, n_a, n_b, found.baskets, (sized.counts[a], sized.counts[b], sized.baskets, sized.sizes)
    )
    q_values = adjusted(p_values, tests=tests)
    nothing = np.full(len(a), -1)
    parts = [
        _rules(
            found,
            (a, b, nothing),
            (start, nothing, end),
            together=together,
            antecedent=found.counts[start],
            expected=expected,
            p_values=p_values,
            q_values=q_values,
        )
        for start, end in ((a, b), (b, a))
    ]
    return pl.concat(parts)


def _triple_rules(found: FrequentSets, sized: SizedCounts, *, tests: int) -> pl.DataFrame:
    """Every frequent triple as a rule to each of its products."""
    directions = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
    expected, p_values = (np.zeros((3, len(found.triples))) for _ in range(2))
    for start in range(0, len(found.triples), TRIPLES_AT_ONCE):
        step = slice(start, start + TRIPLES_AT_ONCE)
        within = [
            _within(found, sized, found.triples[step], found.triple_counts[step], product) for product in range(3)
        ]
        for direction, (first, second, _) in enumerate(directions):
            expected[direction, step] = np.maximum(within[first][0], within[second][0])
            p_values[direction, step] = np.maximum(within[first][1], within[second][1])
    q_values = adjusted(p_values.ravel(), tests=tests).reshape(p_values.shape)
    parts = []
    for number, roles in enumerate(directions):
        products = tuple(found.triples[:, role] for role in roles)
        parts.append(
            _rules(
                found,
                tuple(found.triples.T),
                products,
                together=found.triple_counts,
                antecedent=found.pair_counts[_pair_positions(found, found.triples[:, sorted(roles[:2])])],
                expected=expected[number],
                p_values=p_values[number],
                q_values=q_values[number],
            )
        )
    return pl.concat(parts)


def _within(
    found: FrequentSets, sized: SizedCounts, triples: np.ndarray, together: np.ndarray, product: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ask whether the other two of each triple go together among the baskets with one of its products."""
    here = triples[:, product]
    pairs = [
        _pair_positions(found, np.sort(triples[:, [product, other]], axis=1)) for other in range(3) if other != product
    ]
    one, other = (found.pair_counts[positions] for positions in pairs)
    one_sized, other_sized = (sized.pair_counts[positions] for positions in pairs)
    return _asked_twice(
        together, one, other, found.counts[here], (one_sized, other_sized, sized.counts[here], sized.sizes - 1)
    )


def _asked_twice(
    together: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    baskets: np.ndarray | int,
    by_size: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Baskets that chance would have given by their sizes, and the larger p-value of the two tests."""
    expected, p_values = chance_p_by_size(together, *by_size)
    asked = np.flatnonzero(p_values < 1)
    fisher = chance_p(together[asked], first[asked], second[asked], np.broadcast_to(baskets, together.shape)[asked])
    p_values[asked] = np.maximum(p_values[asked], fisher)
    return expected, p_values


def _pair_positions(found: FrequentSets, pairs: np.ndarray) -> np.ndarray:
    """Positions of frequent pairs, columns ascending in a row, among all of them."""
    base = len(found.counts)
    keys = found.pairs[:, 0] * base + found.pairs[:, 1]
    return np.searchsorted(keys, pairs[:, 0] * base + pairs[:, 1])


def _rules(
    found: FrequentSets,
    sets: tuple[np.ndarray, np.ndarray, np.ndarray],
    roles: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    together: np.ndarray,
    antecedent: np.ndarray,
    expected: np.ndarray,
    p_values: np.ndarray,
    q_values: np.ndarray,
) -> pl.DataFrame:
    lift, low, high = lift_interval(together, antecedent, found.counts[roles[2]], found.baskets)
    columns = dict(zip(("a", "b", "c"), sets, strict=True)) | dict(
        zip(("product", "with_product", "then_product"), roles, strict=True)
    )
    return pl.DataFrame(
        {
            **{name: pl.Series(values, dtype=pl.Int64) for name, values in columns.items()},
            "together": pl.Series(together, dtype=pl.Int64),
            "expected": expected,
            "support": together / max(found.baskets, 1),
            "confidence": together / antecedent,
            "lift": lift,
            "lift_low": low,
            "lift_high": high,
            "p_value": p_values,
            "q_value": q_values,
        }
    )


def _rows(shown: pl.DataFrame, baskets: Baskets, *, as_of: date, window_days: int) -> pl.DataFrame:
    ids = pl.DataFrame(
        {
            "column": pl.Series(np.arange(len(baskets.products)), dtype=pl.Int64),
            "product_id": pl.Series(baskets.products, dtype=pl.String),
        }
    )
    for role in ("product", "with_product", "then_product"):
        names = ids.select(pl.col("column").alias(role), pl.col("product_id").alias(f"{role}_id"))
        shown = shown.join(names, on=role, how="left")
    shares = ("support", "confidence", "lift", "lift_low", "lift_high")
    return (
        shown.sort(
            "lift_low",
            "together",
            "confidence",
            "product",
            "with_product",
            "then_product",
            descending=[True, True, True, False, False, False],
        )
        .with_columns(pl.col(name).round(_DIGITS) for name in shares)
        .select(
            pl.lit(as_of, pl.Date).alias("as_of"),
            pl.int_range(1, pl.len() + 1, dtype=pl.Int32).alias("rank"),
            pl.when(pl.col("c") < 0).then(2).otherwise(3).cast(pl.Int32).alias("size"),
            "product_id",
            "with_product_id",
            "then_product_id",
            pl.lit(len(baskets), pl.Int64).alias("baskets"),
            pl.col("together").alias("baskets_together"),
            pl.col("expected").round(_DIGITS).alias("baskets_expected"),
            "customers",
            *shares,
            # Digits, not decimals: p-values of 1e-30 are common, and their last bits differ between machines.
            pl.col("p_value").round_sig_figs(_DIGITS),
            pl.col("q_value").round_sig_figs(_DIGITS),
            pl.lit(window_days, pl.Int32).alias("window_days"),
        )
    )
