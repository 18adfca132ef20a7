"""What was known at an earlier moment: a home of its own, in which tables are made of the rows known by then.

Prepares the folder and nothing more; its tables are built like those of any home. What a table held when it was
published is not here: that is read from the lake's own history, `Lake.scan(..., published_by=...)`.
"""

import os
import shutil
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.raw import raw_contract
from insight_assets.lake import Lake
from insight_assets.settings import HOME_SETTINGS_FILE, Settings
from insight_assets.validation.rate_files import RATES, known_quotes


class NothingKnown(Exception):
    """No row was known at the moment asked for."""


def prepare_home(shop: Settings, target: Path, known_by: datetime) -> tuple[date, date]:
    """Make a home whose raw tables are those of another, and which counts only rows known by a moment.

    Raw files are linked, not copied, where the file system can: a Delta table never changes a file in place, so the
    two homes do not meet again. The exchange rates known by then become a rate file of the new home.

    Args:
        shop: settings of the home looked back on.
        target: folder of the new home; must not exist.
        known_by: the moment, with its time zone.

    Returns:
        First and last event day with rows known by then.

    Raises:
        FileExistsError: if the folder exists.
        NothingKnown: if no row was known by then; the folder is not made.
    """
    if target.exists():
        message = f"{target} exists; name a folder that does not"
        raise FileExistsError(message)
    lake = Lake(shop.lake)
    raw = [of for source in source_contracts(shop.sources).values() if lake.exists((of := raw_contract(source)).name)]
    known = [lake.scan(of).filter(pl.col("known_at") <= known_by).select("event_day") for of in raw]
    days = pl.concat(known).select(first=pl.min("event_day"), last=pl.max("event_day")).collect() if known else None
    if days is None or days["first"][0] is None:
        message = f"no row was known by {known_by.isoformat()}; next: name a later moment, or build first"
        raise NothingKnown(message)
    for of in raw:
        shutil.copytree(lake.path(of.name), target / "lake" / of.name, copy_function=_link)
    rates = known_quotes(shop.landing / RATES, known_by.astimezone(ZoneInfo(shop.timezone)))
    if not rates.is_empty():
        folder = target / "landing" / RATES
        folder.mkdir(parents=True)
        rates.write_csv(folder / "known.csv")
    if (settings_file := shop.home / HOME_SETTINGS_FILE).is_file():
        shutil.copy(settings_file, target / HOME_SETTINGS_FILE)
    shop.model_copy(update={"home": target}).remember(known_by=known_by.isoformat(), key_path=shop.key_file)
    return days["first"][0], days["last"][0]


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
