"""Great Expectations suites of table contracts, their reports and their Data Docs.

Meant for small published tables: a suite costs 4 to 6 s per million rows, and rows reach it through
pandas. Rows are guarded by `pandera_schemas`; large tables meet Great Expectations in one row of
figures (`monitoring.suites`). No result kept here holds a value of a row.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from insight_assets.contracts.pandera_schemas import PRIMARY_KEY
from insight_assets.contracts.types import Column, Contract
from insight_assets.whole_files import write_whole

if TYPE_CHECKING:
    import great_expectations as gx
    import pandas as pd
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.expectations.expectation import Expectation

COLUMN_SET, ROW_COUNT = "column_set", "row_count"
INDEX = "index"
LARGEST_FLOAT = 1.7976931348623157e308
# The pages ask other hosts for styles and scripts; ours must open without a network.
REMOTE = re.compile(
    r'<script[^>]*src="https?://[^>]*>\s*</script>|<link[^>]*href="https?://[^>]*>'
    r'|<img[^>]*src="https?://[^>]*>|<footer.*?</footer>|background: url\(.https?://[^;]*;',
    re.DOTALL,
)
STYLE = """<style>body{font:15px/1.5 sans-serif;margin:2em auto;max-width:70em;padding:0 1em}
table{border-collapse:collapse}td,th{border:1px solid #8886;padding:.3em .6em;text-align:left}
.navbar,.modal,#cta-footer{display:none}</style>"""


@dataclass(frozen=True)
class Outcome:
    """What became of one expectation.

    Attributes:
        name: Row rule it stands for, or `column_set`, `primary_key`, `row_count`.
        column: Column it is about; None for several.
        success: Whether the table met it. False too where it could not be computed.
        unexpected_count: Rows against it; None where it is not about rows or was not computed.
    """

    name: str
    column: str | None
    success: bool
    unexpected_count: int | None


@dataclass(frozen=True)
class ExpectationReport:
    """What became of a table's suite.

    Attributes:
        table: Contract that was asked.
        version: Its version.
        rows: Rows of the table.
        outcomes: In the order of the suite.
        result: What Data Docs are drawn from, without values and tracebacks.
    """

    table: str
    version: str
    rows: int
    outcomes: tuple[Outcome, ...]
    result: "ExpectationSuiteValidationResult" = field(compare=False, repr=False)

    @property
    def success(self) -> bool:
        """Whether every expectation was met."""
        return all(outcome.success for outcome in self.outcomes)


def suite_of(contract: Contract) -> "gx.ExpectationSuite":
    """Return the suite that holds a contract's columns, row rules, key and row count.

    Great Expectations cannot test two columns against each other by SQL, count list items, nor
    compare exactly with a bound that no float holds. Such a rule becomes a column `rule <name>` in
    the batch, which must be true.
    """
    import great_expectations as gx
    from great_expectations import expectations as gxe

    derived = [_derived_name(name) for name in _derived_rules(contract)]
    expectations = [
        gxe.ExpectTableColumnsToMatchSet(
            column_set=[*(column.name for column in contract.columns), *derived],
            exact_match=True,
            meta={"name": COLUMN_SET},
        ),
        *_rule_expectations(contract),
        _key_expectation(contract),
    ]
    if contract.rows != (None, None):
        least, most = contract.rows
        expectations.append(
            gxe.ExpectTableRowCountToBeBetween(min_value=least, max_value=most, meta={"name": ROW_COUNT})
        )
    return gx.ExpectationSuite(contract.name, expectations=expectations)


def _rule_expectations(contract: Contract) -> Iterator["Expectation"]:
    from great_expectations import expectations as gxe

    derived = _derived_rules(contract)
    for rule in contract.rules:
        said = {"meta": {"name": rule.name, "column": rule.column}, "description": rule.description}
        if rule.name in derived:
            yield gxe.ExpectColumnValuesToBeInSet(column=_derived_name(rule.name), value_set=[True], **said)
        else:
            column = contract.column(rule.column)
            yield _native(column, rule.name.removeprefix(f"{column.name}."), said)


def _native(column: Column, kind: str, said: dict[str, Any]) -> "Expectation":
    """Return Great Expectations' own form of a rule about one column."""
    from great_expectations import expectations as gxe

    about = {"column": column.name, **said}
    match kind:
        case "required":
            return gxe.ExpectColumnValuesToNotBeNull(**about)
        case "finite":
            return gxe.ExpectColumnValuesToBeBetween(min_value=-LARGEST_FLOAT, max_value=LARGEST_FLOAT, **about)
        case "enum":
            return gxe.ExpectColumnValuesToBeInSet(value_set=list(column.allowed), **about)
        case "pattern":
            # Python's `$` also matches before a last line feed; Rust's, which judges, does not.
            strict = re.sub(r"(?<!\\)\$$", r"\\Z", column.pattern)
            return gxe.ExpectColumnValuesToMatchRegex(regex=strict, **about)
        case "min_length":
            return gxe.ExpectColumnValueLengthsToBeBetween(min_value=column.min_length, **about)
        case "max_length":
            return gxe.ExpectColumnValueLengthsToBeBetween(max_value=column.max_length, **about)
        case "minimum" | "exclusive_minimum":
            strict = kind.startswith("exclusive")
            bound = getattr(column, kind)
            return gxe.ExpectColumnValuesToBeBetween(min_value=bound, strict_min=strict, **about)
        case "maximum" | "exclusive_maximum":
            strict = kind.startswith("exclusive")
            bound = getattr(column, kind)
            return gxe.ExpectColumnValuesToBeBetween(max_value=bound, strict_max=strict, **about)
    message = f"rule {column.name}.{kind} has no expectation"
    raise NotImplementedError(message)


def _key_expectation(contract: Contract) -> "Expectation":
    from great_expectations import expectations as gxe

    meta = {"name": PRIMARY_KEY}
    if len(contract.table_key) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=contract.table_key[0], meta=meta)
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(contract.table_key), meta=meta)


def _derived_rules(contract: Contract) -> dict[str, pl.Expr]:
    """Return the rules that Great Expectations must be handed as a computed column."""
    return {
        rule.name: rule.passes
        for rule in contract.rules
        if rule.column is None or not _is_native(contract.column(rule.column), rule.name)
    }


def _is_native(column: Column, rule: str) -> bool:
    """Whether Great Expectations can test a rule itself; it turns every bound into a float."""
    kind = rule.removeprefix(f"{column.name}.")
    bounds = column.allowed if kind == "enum" else [getattr(column, kind, None)]
    return not kind.endswith("_items") and all(
        not isinstance(bound, int | Decimal) or float(bound) == bound for bound in bounds
    )


def _derived_name(rule: str) -> str:
    return f"rule {rule}"


def _batch(contract: Contract, frame: pl.DataFrame) -> "pd.DataFrame":
    """Return the frame in pandas, value for value, with the computed rules.

    Columns are of objects, so that decimals, large integers and times keep their value beside
    nulls. NaN, which pandas takes for null, becomes infinity: both break the rule `finite`.
    """
    import pandas as pd

    computable = [
        passes.alias(_derived_name(name))
        for name, passes in _derived_rules(contract).items()
        if set(passes.meta.root_names()) <= set(frame.columns)
    ]
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    told = frame.with_columns(computable).with_columns(
        pl.when(pl.col(name).is_nan()).then(float("inf")).otherwise(pl.col(name)).alias(name) for name in floats
    )
    return pd.DataFrame({s.name: pd.Series(s.to_list(), dtype=object) for s in told})


def run_expectations(contract: Contract, frame: pl.DataFrame) -> ExpectationReport:
    """Hold a small table against its suite, in memory, without analytics or progress bars.

    Args:
        contract: The table's contract.
        frame: All rows of the table, or of one partition, in the contract's types.
    """
    result = hold_against(suite_of(contract), _batch(contract, frame))
    return ExpectationReport(contract.name, contract.version, frame.height, outcomes_of(result), result)


def hold_against(suite: "gx.ExpectationSuite", batch: "pd.DataFrame") -> "ExpectationSuiteValidationResult":
    """Hold a small batch against a suite; the result tells no value of a row and is in the suite's order.

    Args:
        suite: Every expectation carries its `name`, unique in the suite, in `meta`.
        batch: What is judged.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("insight").add_dataframe_asset(suite.name)
    definition = asset.add_batch_definition_whole_dataframe("rows")
    whole = definition.get_batch({"dataframe": batch})
    result = whole.validate(suite, result_format={"result_format": "BASIC", "exclude_unexpected_values": True})
    order = {expectation.meta["name"]: i for i, expectation in enumerate(suite.expectations)}
    result.results.sort(key=lambda one: order[one.expectation_config.meta["name"]])
    for one in result.results:
        if hasattr(one.result.get("observed_value"), "item"):
            # The pages cannot write NumPy's numbers.
            one.result["observed_value"] = one.result["observed_value"].item()
        if one.exception_info and one.exception_info.get("raised_exception") is not False:
            # A traceback may quote a value.
            message = "could not be computed"
            one.exception_info = {
                "raised_exception": True,
                "exception_message": message,
                "exception_traceback": message,
            }
    return result


def outcomes_of(result: "ExpectationSuiteValidationResult") -> tuple[Outcome, ...]:
    """Give what became of each expectation, without values."""
    return tuple(
        Outcome(
            one.expectation_config.meta["name"],
            one.expectation_config.meta.get("column"),
            bool(one.success),
            one.result.get("unexpected_count"),
        )
        for one in result.results
    )


def render_page(report: ExpectationReport) -> str:
    """Give Great Expectations' own page of a report, without what it would fetch from other hosts."""
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    page = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(report.result))
    return REMOTE.sub("", page).replace("</head>", f"{STYLE}</head>", 1)


def render_data_docs(reports: Mapping[str, ExpectationReport], folder: Path) -> Path:
    """Write one page a report, and an index of all pages of the folder; each file appears whole.

    Args:
        reports: Page name to report; a page of that name is replaced.
        folder: Where the pages lie; they are readable without a network.

    Returns:
        The index.
    """
    for name, report in reports.items():
        write_whole(folder / f"{name}.html", render_page(report))
    names = sorted(path.stem for path in folder.glob("*.html") if path.stem != INDEX)
    lines = "".join(f'<li><a href="{name}.html">{name}</a></li>' for name in names)
    index = folder / f"{INDEX}.html"
    write_whole(
        index,
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Data Docs</title>{STYLE}'
        f"</head><body><h1>Data Docs</h1><ul>{lines}</ul></body></html>\n",
    )
    return index
