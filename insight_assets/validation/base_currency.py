"""Which currency a shop counts in when nobody has said so: the most frequent one of the first file it landed.

Reads files and writes nothing; what is found is remembered by the command line.
"""

from collections.abc import Mapping

import polars as pl

from insight_assets.contracts.paths import field_at
from insight_assets.contracts.sources import SourceContract, TableMapping
from insight_assets.ingestion.landing import Inventory, LandedFile
from insight_assets.ingestion.readers import FileRefused, decode_rows, read_delivery, read_slices


def first_currency(inventory: Inventory, sources: Mapping[str, SourceContract]) -> str | None:
    """Give the most frequent currency of the first landed file that holds money; None where none does.

    The first file is the one with the earliest event day; of several the first by source and name. Of currencies that
    are equally frequent the first in the alphabet counts.
    """
    files = [file for file in inventory.files() if file.rows and file.days and file.source in sources]
    for file in sorted(files, key=lambda file: (min(file.days), file.source, file.name)):
        if found := currency_of_file(inventory, file, sources[file.source]):
            return found
    return None


def currency_of_file(inventory: Inventory, file: LandedFile, source: SourceContract) -> str | None:
    """Give the most frequent currency of the order lines in a landed file; None where it has none."""
    mappings = [mapping for mapping in source.mappings if mapping.table == "order_lines"]
    if not mappings:
        return None
    fixed = [pl.sql_expr(mapping.expressions["currency"]) for mapping in mappings]
    if all(not written.meta.root_names() for written in fixed):
        return pl.select(fixed[0].cast(pl.String)).item()
    path = inventory.root / source.name / file.name
    try:
        delivery = read_delivery(path, max_bytes=inventory.max_file_bytes, limits=inventory.limits)
        met = [
            _currencies(decode_rows(rows, source), source, mapping)
            for rows in read_slices(delivery, source, inventory.limits)
            for mapping in mappings
        ]
    except (FileRefused, OSError):
        return None
    met = pl.concat([pl.Series("currency", [], dtype=pl.String), *met])
    codes = met.drop_nulls().filter(met.drop_nulls().str.contains("^[A-Z]{3}$"))
    counted = codes.value_counts().sort(["count", codes.name], descending=[True, False])
    return counted[codes.name][0] if counted.height else None


def _currencies(rows: pl.DataFrame, source: SourceContract, mapping: TableMapping) -> pl.Series:
    if mapping.rows is not None:
        fields = next(column.items for column in source.delivered if column.name == mapping.rows)
        rows = rows.filter(pl.col(mapping.rows).list.len() > 0).explode(mapping.rows)
        rows = rows.with_columns(field_at(pl.col(mapping.rows), field.path).alias(field.name) for field in fields)
    if mapping.where is not None:
        rows = rows.filter(pl.sql_expr(mapping.where))
    return rows.select(pl.sql_expr(mapping.expressions["currency"]).cast(pl.String).alias("currency")).to_series()
