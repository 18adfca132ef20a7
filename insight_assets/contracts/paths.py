"""Paths into nested rows: how a source contract names one value of a JSON object or a nested Parquet row.

`user.id` is a field of a field. A name may pick from a list: `items[0].sku` takes the first element (`[1]` the second),
`event_params[key=page].value.string_value` the first element whose field `key` says `page`, `discounts[sum].amount` the
sum over all elements. Only the grammar and its meaning as an expression; reading files is in ingestion.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

_PICK = r"\[(?:(?P<index>\d+)|(?P<sum>sum)|(?P<key>\w+)=(?P<value>[^\[\]]+))\]"
_STEP = re.compile(rf"(?P<name>[^.\[\]]+)(?:{_PICK})?(?:\.|$)")
_MONEY = pl.Decimal(18, 4)


@dataclass(frozen=True)
class Step:
    """One name of a path, and what it picks where it names a list.

    Attributes:
        name: field of the object reached so far.
        index: place of the element in the list, from 0; None unless so picked.
        key: field by which the element is found; None unless so picked.
        value: what that field must say.
        summed: whether the rest of the path is summed over all elements.
    """

    name: str
    index: int | None = None
    key: str | None = None
    value: str | None = None
    summed: bool = False

    @property
    def listed(self) -> bool:
        """Whether the name holds a list."""
        return self.index is not None or self.key is not None or self.summed


def parse_path(path: str) -> tuple[Step, ...]:
    """Read a path.

    Raises:
        ValueError: if it is none.
    """
    steps, place = [], 0
    while place < len(path):
        found = _STEP.match(path, place)
        if found is None:
            break
        index = found["index"]
        steps.append(
            Step(found["name"], None if index is None else int(index), found["key"], found["value"], bool(found["sum"]))
        )
        place = found.end()
    if place < len(path) or not steps or path.endswith("."):
        message = f"{path!r} is no path; allowed: names between dots, each with [0], [sum] or [field=value] for a list"
        raise ValueError(message)
    return tuple(steps)


def field_at(value: pl.Expr, path: str) -> pl.Expr:
    """Take the value at a path out of a struct of text and lists, as text; null where there is none.

    A sum in which something is no number is told as `1.00+x`, which no reader takes for a number.
    """
    return _follow(value, parse_path(path))


def _follow(value: pl.Expr, steps: tuple[Step, ...]) -> pl.Expr:
    for place, step in enumerate(steps):
        value = value.struct.field(step.name)
        if step.summed:
            texts = value.list.eval(_follow(pl.element(), steps[place + 1 :]))
            numbers = texts.list.eval(pl.element().cast(_MONEY, strict=False))
            whole = numbers.list.drop_nulls().list.len() == texts.list.drop_nulls().list.len()
            return pl.when(whole).then(numbers.list.sum().cast(pl.String)).otherwise(texts.list.join("+"))
        if step.key is not None:
            value = value.list.filter(pl.element().struct.field(step.key) == step.value)
        if step.listed:
            value = value.list.get(step.index or 0, null_on_oob=True)
    return value


def shape_of(columns: Mapping[str, Mapping[str, Any] | None]) -> pl.Struct:
    """Give the smallest nested type of text that holds all paths.

    Args:
        columns: path to None for a plain value, or, for a list of objects, to the same mapping of its fields.

    Raises:
        ValueError: if one path takes for a plain value what another looks into, or for a list what another does not.
    """
    return _to_struct(_tree(columns, {}))


def _tree(columns: Mapping[str, Mapping[str, Any] | None], tree: dict[str, list[Any]]) -> dict[str, list[Any]]:
    for path, fields in columns.items():
        steps, node = parse_path(path), tree
        for place, step in enumerate(steps):
            is_last = place == len(steps) - 1
            listed = step.listed or (is_last and fields is not None)
            nested = not is_last or fields is not None
            found = node.setdefault(step.name, [listed, {} if nested else None])
            if found[0] != listed or (found[1] is None) == nested:
                message = f"{path!r} reads {step.name!r} in another shape than an earlier column"
                raise ValueError(message)
            if step.key is not None:
                found[1].setdefault(step.key, [False, None])
            node = found[1]
        if fields is not None:
            _tree(fields, node)
    return tree


def _to_struct(tree: Mapping[str, list[Any]]) -> pl.Struct:
    fields = {}
    for name, (listed, inner) in tree.items():
        dtype = pl.String() if inner is None else _to_struct(inner)
        fields[name] = pl.List(dtype) if listed else dtype
    return pl.Struct(fields)
