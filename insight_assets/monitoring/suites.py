"""Great Expectations suites over one row of figures: what a contract demands and what history leads to expect.

A partition of millions of rows reaches Great Expectations as the one row that its profile is, so that a suite costs
milliseconds. Which bands are expected is decided in `drift`; pages are written by `contracts.expectations`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.expectations import ROW_COUNT, ExpectationReport, hold_against, outcomes_of
from insight_assets.monitoring.drift import Band, DayVerdict, Figure
from insight_assets.monitoring.partition_profiles import DAY

if TYPE_CHECKING:
    import great_expectations as gx
    from great_expectations.expectations.expectation import Expectation

CONTRACT, HISTORY = "contract", "history"
ROWS = Figure("rows", "", "")


def hold_profile(verdict: DayVerdict, profiles: pl.DataFrame) -> ExpectationReport:
    """Hold the profile of one table and day against its suite.

    Args:
        verdict: the bands expected of that day.
        profiles: rows of `partition_profiles`, that day's among them.

    Returns:
        The report; outcomes are named like the figures and in the order of the suite.
    """
    import pandas as pd

    figures = _figures(verdict, profiles)
    row = pd.DataFrame([{figure.name: value for figure, value in figures.items()}])
    result = hold_against(suite_of_day(verdict, figures), row)
    of = contract(verdict.table)
    return ExpectationReport(of.name, of.version, int(figures.get(ROWS, 0)), outcomes_of(result), result)


def has_something_to_tell(verdict: DayVerdict, profiles: pl.DataFrame) -> bool:
    """Whether something was learned to expect of a day, or the day is against its contract.

    Args:
        verdict: the bands expected of that day.
        profiles: rows of `partition_profiles`, that day's among them.
    """
    if verdict.learned or contract(verdict.table).rows != (None, None):
        return True
    return any(value != 0 for figure, value in _figures(verdict, profiles).items() if figure.metric == "broken")


def suite_of_day(verdict: DayVerdict, figures: Mapping[Figure, float]) -> "gx.ExpectationSuite":
    """Give the suite of one table and day.

    Args:
        verdict: the bands expected of that day.
        figures: the day's figures; those that count rows against the contract are expected to be 0.
    """
    import great_expectations as gx
    from great_expectations import expectations as gxe

    of = contract(verdict.table)
    said = {rule.name: rule.description for rule in of.row_rules()}
    expectations: list[Expectation] = [
        _between(figure, 0, 0, CONTRACT, said.get(figure.item, f"no two rows share their {', '.join(of.primary_key)}"))
        for figure in figures
        if figure.metric == "broken"
    ]
    if of.rows != (None, None):
        least, most = of.rows
        expectations.append(
            gxe.ExpectColumnMeanToBeBetween(
                column=ROWS.name, min_value=least, max_value=most, severity="critical",
                meta={"name": ROW_COUNT, "from": CONTRACT}, description="rows that the contract allows",
            )
        )
    expectations += [
        _between(band.figure, band.lower, band.upper, HISTORY, _told(band, verdict)) for band in verdict.bands
    ]
    return gx.ExpectationSuite(f"{verdict.table} {verdict.day}", expectations=expectations)


def _between(figure: Figure, least: float, most: float, origin: str, description: str) -> "Expectation":
    from great_expectations import expectations as gxe

    # The mean of one row is its value; unlike the expectations of values it shows what was found.
    return gxe.ExpectColumnMeanToBeBetween(
        column=figure.name, min_value=least, max_value=most, severity="critical" if origin == CONTRACT else "warning",
        meta={"name": figure.name, "column": figure.column or None, "metric": figure.metric, "from": origin},
        description=description,
    )


def _told(band: Band, verdict: DayVerdict) -> str:
    return f"{band.figure.name}: about {band.expected:.4g}, learned from {verdict.history} accepted days"


def _figures(verdict: DayVerdict, profiles: pl.DataFrame) -> dict[Figure, float]:
    """Give a day's figures; an item that was expected and is not there has none of the rows."""
    rows = profiles.filter(pl.col("table_name") == verdict.table, pl.col(DAY) == verdict.day)
    found = rows.select("metric", "column_name", "item", "value").sort("metric", "column_name", "item")
    told = {Figure(metric, column, item): value for metric, column, item, value in found.iter_rows()}
    return told | {band.figure: band.found for band in verdict.bands if band.figure not in told}
