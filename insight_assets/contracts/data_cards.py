"""Data cards: what a table is, whom it tells of and what its rows must obey, for people.

One half follows from the contract and holds on every day; the other is what a run knew of one partition. Columns with
their meaning, row counts and hashes stand beside the card in Dagster already and are not told again. Knows contracts,
not assets: where the halves are shown is decided in `metadata` and `io_managers`.
"""

from collections import Counter
from collections.abc import Mapping

from insight_assets.contracts.types import Contract
from insight_assets.purposes import CONSENTED_PURPOSES

ABOUT_PEOPLE = ("pseudonym", "personal", "free_text")
"""Classes of columns that tell of people or may do so."""

NAMED = 8
"""Columns named in one line at most; of a table of hundreds the others are counted."""

KNOWN_AT = "known_at"


def table_card(of: Contract, purpose: str) -> str:
    """Write what holds of every partition of a table, in Markdown.

    Args:
        of: The table's contract.
        purpose: What its asset uses data for, one of `purposes.PURPOSES`.
    """
    facts = {
        "contract": f"{of.name} {of.version}, {of.stage}",
        "owner": of.owner,
        "purpose": purpose + (", which people may refuse" if purpose in CONSENTED_PURPOSES else ""),
        "a row is named by": ", ".join(f"`{name}`" for name in of.table_key),
        "time": _time(of),
        "kept for": f"{of.retention_days:,} days" if of.retention_days else "no limit is set",
        "columns": _counted(Counter(column.classification for column in of.columns)),
        "of people": _of_people(of),
        "nulls": _nulls(of),
        "rules of a column": _counted(Counter(rule.name.split(".")[-1] for rule in of.rules if rule.column)) or "none",
        "rows of a partition": _bounds(of),
    }
    lines = [f"{of.description}.", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {_cell(told)} |" for name, told in facts.items() if told]
    rules = [f"- `{rule.name}`: {rule.description}" for rule in of.rules if rule.column is None]
    return "\n".join([*lines, *(["", "Every row keeps these rules too:", "", *rules] if rules else [])]) + "\n"


def partition_card(
    of: Contract,
    *,
    partition: str,
    rows: int,
    nulls: Mapping[str, int],
    smallest_group: int,
    left_out: str = "",
) -> str:
    """Write what a run knew of one partition that it wrote, in Markdown.

    Args:
        of: The contract that its rows were held against.
        partition: Key of the partition.
        rows: Number of its rows.
        nulls: Column to the number of rows without a value; columns without any may be absent.
        smallest_group: Fewest rows without a value whose share is told.
        left_out: Who is not in it, as a sentence; empty where nobody was left out, or nobody knows.
    """
    told = [f"{rows:,} rows of {partition}; all keep the {len(of.rules)} rules of {of.name} {of.version}."]
    if rows:
        told.append(_gaps(of, rows, {name: count for name, count in nulls.items() if count}, smallest_group))
    return " ".join([*told, *([left_out] if left_out else [])])


def people_left_out(count: int | None, purpose: str, smallest_group: int) -> str:
    """Say who is not in a partition for lack of consent.

    Args:
        count: People who refused; None where only those who agreed are known.
        purpose: What they refused.
        smallest_group: Fewest people that a number may speak of.
    """
    if count is None:
        return f"Only people who agreed to {purpose} are in it."
    if count == 0:
        return f"Nobody had refused {purpose}."
    told = f"{count:,}" if count >= smallest_group else f"Fewer than {smallest_group}"
    return f"{told} people had refused {purpose}; they are not in it."


def _time(of: Contract) -> str:
    axes = [name for name in (of.partition_column, KNOWN_AT) if name in of.polars_schema()]
    return "; ".join(f"`{name}`, {of.column(name).description}" for name in axes)


def _of_people(of: Contract) -> str:
    found = [column for column in of.columns if column.classification in ABOUT_PEOPLE]
    return ", ".join(f"`{column.name}` ({column.classification})" for column in found) or "no column"


def _nulls(of: Contract) -> str:
    may_lack = [column for column in of.columns if not column.required]
    explained = sum(column.nulls is not None for column in may_lack)
    told = f"{len(of.columns) - len(may_lack)} columns have a value in every row, {len(may_lack)} may lack one"
    return told + (f", of which {explained} say why" if explained else "")


def _bounds(of: Contract) -> str:
    least, most = of.rows
    bounds = [f"at least {least:,}" if least is not None else "", f"at most {most:,}" if most is not None else ""]
    return ", ".join(filter(None, bounds))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def _gaps(of: Contract, rows: int, nulls: Mapping[str, int], smallest_group: int) -> str:
    full = len(of.columns) - len(nulls)
    if not nulls:
        return "Every column has a value in every row."
    ranked = sorted(nulls, key=lambda name: (-nulls[name], name))
    shares = [f"`{name}` {_share(nulls[name], rows, smallest_group)}" for name in ranked[:NAMED]]
    more = f" and {len(ranked) - NAMED} more" if len(ranked) > NAMED else ""
    return f"Without a value: {', '.join(shares)}{more}; {full} columns are full."


def _share(count: int, rows: int, smallest_group: int) -> str:
    # A few gaps in a table of people are a few people.
    return "all" if count == rows else f"{count / rows:.1%}" if count >= smallest_group else "in few rows"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
