"""The command line `insight`: simulate, land, build, look.

Thin: each command reads its arguments, calls one function, and prints. Exit codes: 0 done, 1 done but something was
refused or failed, 2 wrong use, 3 the home is busy.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from insight_assets.settings import Settings, choose_home, settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False,
    help="Customer insight for online shops, as Dagster assets.",
)
console = Console(stderr=True)
out = Console(soft_wrap=True)

FAILED, WRONG_USE, BUSY = 1, 2, 3

Home = Annotated[Path | None, typer.Option("--home", help="Home folder (default: INSIGHT_HOME, else ./insight_home)")]
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable output")]


def main() -> None:
    """Run the command line; errors that have a remedy are told in a sentence, without a traceback."""
    from insight_assets.contracts.types import ContractError
    from insight_assets.disk_room import DiskFull, is_full
    from insight_assets.ingestion.readers import FileRefused

    try:
        app()
    except (ContractError, FileRefused, FileNotFoundError, PermissionError) as error:
        console.print(f"[red]error:[/red] {error}", highlight=False)
        sys.exit(WRONG_USE)
    except Exception as error:
        if not is_full(error):
            raise
        told = error if isinstance(error, DiskFull) else "the disk is full. Next: free some space and run it again"
        console.print(f"[red]error:[/red] {told}", highlight=False)
        sys.exit(FAILED)


def _home(home: Path | None) -> Settings:
    return choose_home(home if home is not None else settings().home)


def _refuse(message: str, code: int = WRONG_USE) -> "typer.Exit":
    console.print(f"[red]error:[/red] {message}", highlight=False)
    return typer.Exit(code)


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a day; write it as 2025-01-31"
        raise _refuse(message) from None


def _moment(text: str | None, shop: Settings) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a moment; write it as 2025-01-31T18:00 (the shop's zone) or 2025-01-31T18:00+01:00"
        raise _refuse(message) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=shop.zone)


def _progress() -> Callable[[str], None]:
    started = time.monotonic()
    return lambda line: console.print(f"[dim]{time.monotonic() - started:6.1f}s[/dim] {escape(line)}", highlight=False)


@app.command()
def simulate(
    home: Home = None,
    size: Annotated[str, typer.Option(help="small, medium or large")] = "small",
    seed: Annotated[int, typer.Option(help="Same seed, same bytes")] = 7,
    start: Annotated[str, typer.Option(help="First day")] = "2025-01-01",
    customers: Annotated[int | None, typer.Option(help="Number of customers, instead of the size's")] = None,
    days: Annotated[int | None, typer.Option(help="Number of days, instead of the size's")] = None,
    file_format: Annotated[str, typer.Option("--format", help="ndjson or parquet")] = "ndjson",
    duplicates: Annotated[float, typer.Option(help="Share of events delivered twice")] = 0.0,
    late: Annotated[float, typer.Option(help="Share of events delivered days late")] = 0.0,
    bad_rows: Annotated[float, typer.Option(help="Share of spoilt rows")] = 0.0,
    bots: Annotated[int, typer.Option(help="Number of automatic visitors")] = 0,
    drift_day: Annotated[str | None, typer.Option(help="Day from which a column is renamed")] = None,
    spoilt_day: Annotated[str | None, typer.Option(help="Day of which 30 % of the rows are broken")] = None,
) -> None:
    """Simulate a shop into the landing folder; its hidden truth goes to a folder that no asset reads."""
    from insight_assets.simulator.plan import SIZES, Trouble

    shop = _home(home)
    if size not in SIZES:
        raise _refuse(f"unknown size {size!r}; one of {', '.join(SIZES)}")
    if file_format not in {"ndjson", "parquet"}:
        raise _refuse(f"unknown format {file_format!r}; ndjson or parquet")
    changes: dict[str, Any] = {"seed": seed, "start": _day(start)}
    changes |= {name: value for name, value in (("customers", customers), ("days", days)) if value is not None}
    try:
        trouble = Trouble(
            duplicates=duplicates, late=late, bad_rows=bad_rows, bots=bots, drift_day=_day(drift_day), spoilt_day=_day(spoilt_day)
        )
        events = _simulate(shop, size, file_format, trouble=trouble, **changes)
    except ValueError as error:
        raise _refuse(str(error)) from None
    console.print(f"{events:,} events in {shop.landing / 'segment'}; truth in {shop.truth}", highlight=False)


def _simulate(shop: Settings, size: str, file_format: str, **changes: Any) -> int:
    from insight_assets.simulator.landing import write_landing
    from insight_assets.simulator.plan import SimulationPlan
    from insight_assets.simulator.truth import write_truth

    plan = SimulationPlan.sized(size, **changes)
    say = _progress()
    last = plan.last_day
    shop.remember(
        start_date=plan.start, end_date=last if shop.end_date is None or last > shop.end_date else shop.end_date,
        timezone=plan.timezone, horizon_days=30 if plan.days < 365 else 90,
    )
    total = 0

    def on_day(day: date, events: int) -> None:
        nonlocal total
        total += events
        if day.day == 1 or day == last:
            say(f"simulated up to {day}: {total:,} events")

    write_landing(
        plan, shop.landing / "segment", file_format=file_format, compression="gz" if file_format == "ndjson" else None,
        on_day=on_day,
    )
    write_truth(plan, shop.truth)
    return total


@app.command()
def land(
    source: Annotated[str, typer.Argument(help="Source contract, see `insight sources`, or currency_rates")],
    paths: Annotated[list[Path], typer.Argument(help="Files to add")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Add files to a source's landing folder, each appearing there whole; nothing is read yet.

    Related files of one source (a bundle) are packed into one archive, which replaces an earlier one of its name.
    """
    from insight_assets.ingestion.landing import land_bundle, land_files
    from insight_assets.validation.rate_files import RATES

    shop = _home(home)
    # Exchange rates are landed like rows, and are no source of them.
    members = () if source == RATES else _source(shop, source).members
    is_loose = bool(members) and any(path.suffix != ".zip" for path in paths)
    try:
        landed = (land_bundle if is_loose else land_files)(paths, shop.landing / source)
    except FileNotFoundError as error:
        raise _refuse(f"{error}; nothing was landed") from None
    counts: dict[str, int] = {}
    for _, verdict in landed:
        counts[verdict] = counts.get(verdict, 0) + 1
    if as_json:
        out.print_json(json.dumps([{"file": path.name, "verdict": verdict} for path, verdict in landed]))
    else:
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        console.print(f"{told} in {shop.landing / source}; next: insight build", highlight=False)


def _source(shop: Settings, name: str) -> Any:
    from insight_assets.contracts.sources import source_contracts

    known = source_contracts(shop.sources)
    if name not in known:
        raise _refuse(f"unknown source {name!r}; known: {', '.join(known)}. Your own contracts: set INSIGHT_SOURCES")
    return known[name]


@app.command()
def build(
    home: Home = None,
    first: Annotated[str | None, typer.Option("--from", help="First event day (default: first landed day)")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last event day (default: last landed day)")] = None,
    as_of: Annotated[list[str] | None, typer.Option(help="As-of day of the snapshots (default: the last day); repeatable")] = None,
    select: Annotated[str | None, typer.Option(help="Dagster asset selection, e.g. 'group:features'")] = None,
    as_json: AsJson = False,
) -> None:
    """Make what is missing or stale, through Dagster."""
    shop = _home(home)
    report = _build(shop, _day(first), _day(last), [d for each in as_of or () if (d := _day(each))] or None, select)
    if as_json:
        out.print_json(json.dumps(_report_json(report)))
    else:
        _print_report(report)
    if report.first is None:
        raise _refuse(f"nothing has landed in {shop.landing}; next: insight land SOURCE FILES, or insight simulate", FAILED)
    if report.failures:
        raise typer.Exit(FAILED)


def _build(shop: Settings, first: date | None, last: date | None, as_of: list[date] | None, select: str | None) -> Any:
    from insight_assets.contracts.sources import source_contracts
    from insight_assets.ingestion.landing import Inventory, wait_for_arrivals
    from insight_assets.validation.base_currency import first_currency
    from insight_assets.validation.rate_files import RATES

    # The first partition and the currency are fixed when the definitions load, so they are settled before.
    inventory = Inventory.of(shop)
    known = source_contracts(shop.sources)
    wait_for_arrivals(inventory, known.values())
    days = {day for file in inventory.files() for day in file.days}
    strangers = _folders(shop.landing) - known.keys() - {RATES}
    if strangers:
        told = ", ".join(sorted(strangers))
        console.print(f"[yellow]not read[/yellow] {told} in {shop.landing}: no source contract has that name", highlight=False)
    start = min([first] if first else days, default=shop.start_date)
    if start < shop.start_date or (days and not (shop.home / "lake").exists() and start != shop.start_date):
        shop.remember(start_date=start)
        console.print(f"the first partition is now {start} (kept in {shop.home / 'insight.env'})", highlight=False)
    if shop.end_date is not None and days and max(days) > shop.end_date:
        shop.remember(end_date=max(days))
    if not shop.base_currency and (currency := first_currency(inventory, known)):
        shop.remember(base_currency=currency)
        console.print(f"money is counted in {currency} (kept in {shop.home / 'insight.env'})", highlight=False)
    from insight_assets import building

    shop = settings()
    try:
        with building.exclusive(shop.home), building.open_instance(shop) as instance:
            builder = building.Builder(shop, instance, _progress())
            return builder.build(first=first, last=last, as_of=as_of, select=select)
    except building.BuildBusy as error:
        raise _refuse(str(error), BUSY) from None


@app.command("as-known")
def as_known(
    moment: Annotated[str, typer.Argument(help="Moment, e.g. 2025-01-31T18:00 (the shop's zone)")],
    into: Annotated[Path, typer.Option(help="Folder of the home to make; must not exist")],
    home: Home = None,
    as_of: Annotated[list[str] | None, typer.Option(help="As-of day of the snapshots (default: the last day); repeatable")] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild everything from the rows known at a moment, in a home of its own."""
    from insight_assets.hindsight import NothingKnown, prepare_home

    shop = _home(home)
    try:
        first, last = prepare_home(shop, into.absolute(), _moment(moment, shop))
    except (FileExistsError, NothingKnown) as error:
        raise _refuse(str(error)) from None
    report = _build(choose_home(into), first, last, [d for each in as_of or () if (d := _day(each))] or None, None)
    if as_json:
        out.print_json(json.dumps(_report_json(report)))
    else:
        _print_report(report)
        console.print(f"look into it with --home {into}", highlight=False)
    if report.failures:
        raise typer.Exit(FAILED)


def _folders(landing: Path) -> set[str]:
    return {path.name for path in landing.iterdir() if path.is_dir() and not path.is_symlink()} if landing.is_dir() else set()


def _report_json(report: Any) -> dict[str, Any]:
    return {
        "first": str(report.first), "last": str(report.last), "as_of": [str(day) for day in report.as_of],
        "runs": report.runs, "partitions": report.partitions,
        "failures": [{"asset": a, "days": d, "message": m} for a, d, m in report.failures],
        "missing": report.missing,
        "refused_files": [{"source": f.source, "file": f.name, "reason": f.reason} for f in report.refused_files],
    }


def _print_report(report: Any) -> None:
    console.print(f"{report.runs} runs, {report.partitions} partitions made", highlight=False)
    for file in report.refused_files:
        console.print(f"[yellow]refused file[/yellow] {file.source}/{file.name}: {escape(file.reason)}", highlight=False)
    for name, reason in report.missing.items():
        state = "waiting" if "horizon closes" in reason else "[yellow]not made[/yellow]"
        console.print(f"{state} {name}: {escape(reason)}", highlight=False)
    for asset, days, message in report.failures:
        console.print(f"[red]failed[/red] {asset} {days}: {escape(message)}", highlight=False)


@app.command()
def sources(home: Home = None, as_json: AsJson = False) -> None:
    """List the source contracts, shipped and your own."""
    from insight_assets.contracts.sources import source_contracts

    rows = [
        {
            "source": s.name, "version": s.version, "format": s.format,
            "feeds": ", ".join(dict.fromkeys(m.table for m in s.mappings)), "one row": s.description, "contract": str(s.path),
        }
        for s in source_contracts(_home(home).sources).values()
    ]
    _print_frame(pl.DataFrame(rows), as_json=as_json)


@app.command()
def features(
    table: Annotated[str, typer.Argument(help="customer_features or product_features")] = "customer_features",
    word: Annotated[str | None, typer.Option("--about", help="Only features whose name or definition holds this word")] = None,
    as_json: AsJson = False,
) -> None:
    """List features: definition, window, unit, whose past they tell of, and what a missing value means."""
    from insight_assets.contracts.catalogue import contract
    from insight_assets.features.registry import TABLES, list_features

    if table not in TABLES:
        raise _refuse(f"unknown table of features {table!r}; one of {', '.join(TABLES)}")
    rows = list_features(contract(table))
    if word is not None:
        told = pl.concat_str("feature", "definition", separator=" ").str.to_lowercase()
        rows = rows.filter(told.str.contains(word.lower(), literal=True))
    _print_frame(rows, as_json=as_json)


@app.command("check-source")
def check_source_command(
    source: Annotated[str, typer.Argument(help="Source contract; or, alone, a file for which one is to be proposed")],
    path: Annotated[Path | None, typer.Argument(help="File to check")] = None,
    name: Annotated[str | None, typer.Option(help="Name of a proposed source (default: of the file)")] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder to write a proposed contract to")] = Path(),
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Read a file against a contract and report how usable it is; of a file alone, propose a contract for it."""
    if path is None:
        _propose_source(Path(source), name, folder, _home(home), as_json=as_json)
        return
    from insight_assets.ingestion.landing import limits_of
    from insight_assets.validation.usability import check_source

    shop = _home(home)
    contract = _source(shop, source)
    if not path.is_file():
        raise _refuse(f"{path} is not a file")
    report = check_source(
        path, contract, shop_timezone=shop.timezone, max_file_bytes=shop.max_file_bytes, limits=limits_of(shop),
        budget=shop.reject_budgets.get(contract.name),
    )
    if as_json:
        out.print_json(json.dumps(report.as_dict()))
    else:
        for line in report.lines():
            out.print(line, highlight=False, markup=False)
    if not report.usable:
        raise typer.Exit(FAILED)


def _propose_source(path: Path, name: str | None, folder: Path, shop: Settings, *, as_json: bool) -> None:
    from insight_assets.contracts.sources import load_source
    from insight_assets.ingestion.landing import limits_of
    from insight_assets.ingestion.readers import read_delivery
    from insight_assets.validation.proposals import propose, source_name
    from insight_assets.validation.unknown_files import look_into
    from insight_assets.validation.usability import check_source

    if not path.is_file():
        raise _refuse(f"{path} is not a file; to check one against a contract: insight check-source SOURCE FILE")
    target = folder / f"{name or source_name(path.name)}.odcs.yaml"
    if target.exists():
        raise _refuse(f"{target} exists already; next: give another --name or --out, or remove it")
    limits = limits_of(shop)
    delivery = read_delivery(path, max_bytes=shop.max_file_bytes, limits=limits)
    proposal = propose(look_into(delivery), target.name.partition(".")[0])
    told, report = proposal.as_dict(), None
    if proposal.text:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(proposal.text, encoding="utf-8")
        contract = load_source(target, linted=True)
        report = check_source(
            path, contract, shop_timezone=shop.timezone, max_file_bytes=shop.max_file_bytes, limits=limits
        )
        told |= {"contract": str(target), "check": report.as_dict()}
    if as_json:
        out.print_json(json.dumps(told))
    else:
        next_step = f"written {target}; next: decide its TODOs, move it to INSIGHT_SOURCES, and check the file again"
        found = [*report.findings(), next_step] if report else ["no contract written"]
        for line in [*proposal.lines(), *found]:
            out.print(line, highlight=False, markup=False)
    if report is None:
        raise typer.Exit(FAILED)


@app.command()
def show(
    table: Annotated[str, typer.Argument(help="Table, e.g. orders or customer_profiles")],
    home: Home = None,
    as_of: Annotated[str | None, typer.Option(help="Partition to show (default: the newest)")] = None,
    published_by: Annotated[str | None, typer.Option(help="Show what the table held at this moment")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows to show")] = 20,
    columns: Annotated[str | None, typer.Option(help="Columns to show, e.g. customer_key,net_365d (default: all)")] = None,
    payload: Annotated[bool, typer.Option("--payload", help="Also show what was delivered, personal values included")] = False,
    as_json: AsJson = False,
) -> None:
    """Show rows of a table, without columns that hold personal values unless they are asked for.

    Where the columns do not fit beside each other, each has a line of its own, and the rows stand side by side.
    """
    from insight_assets.lake import Lake

    shop = _home(home)
    contract = _table_contract(shop, table)
    shown = _chosen_columns(contract, columns, personal_too=payload)
    lake = Lake(shop.lake)
    moment = _moment(published_by, shop)
    day = _day_of(lake, contract, as_of)
    frame = lake.scan(contract, [day], published_by=moment).head(limit).collect()
    if frame.is_empty():
        raise _refuse(f"{table} holds no rows for {day}", FAILED)
    _print_frame(frame.select(shown), as_json=as_json)


def _chosen_columns(contract: Any, chosen: str | None, *, personal_too: bool) -> list[str]:
    open_to_all = {column.name: personal_too or column.classification != "personal" for column in contract.columns}
    names = [name.strip() for name in chosen.split(",")] if chosen else [n for n, is_open in open_to_all.items() if is_open]
    if unknown := [name for name in names if name not in open_to_all]:
        raise _refuse(f"{contract.name} has no column {', '.join(unknown)}; known: {', '.join(open_to_all)}")
    if hidden := [name for name in names if not open_to_all[name]]:
        raise _refuse(f"{', '.join(hidden)} may hold personal values; next: add --payload to see them")
    return list(dict.fromkeys(names))


def _table_contract(shop: Settings, table: str) -> Any:
    from insight_assets.contracts.catalogue import contract, contracts
    from insight_assets.contracts.sources import source_contracts
    from insight_assets.ingestion.raw import PREFIX, raw_contract

    known = source_contracts(shop.sources)
    if table.removeprefix(PREFIX) in known and table.startswith(PREFIX):
        return raw_contract(known[table.removeprefix(PREFIX)])
    if table not in contracts():
        raise _refuse(f"unknown table {table!r}; known: {', '.join(contracts())}, {', '.join(PREFIX + n for n in known)}")
    return contract(table)


def _day_of(lake: Any, contract: Any, chosen: str | None) -> date:
    """Give the partition that was chosen, else the newest."""
    newest = pl.col(contract.partition_column).max()
    day = _day(chosen) or lake.scan(contract).select(newest).collect().item()
    if day is None:
        raise _refuse(f"{contract.name} holds no rows yet; next: insight build", FAILED)
    return day


@app.command()
def profile(
    customer: Annotated[str, typer.Argument(help="Customer as the shop names them, or their customer_key")],
    home: Home = None,
    as_of: Annotated[str | None, typer.Option(help="As-of day (default: the newest)")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is known of one customer."""
    from insight_assets.contracts.catalogue import contract
    from insight_assets.lake import Lake

    shop = _home(home)
    lake, profiles = Lake(shop.lake), contract("customer_profiles")
    day = _day_of(lake, profiles, as_of)
    found = lake.scan(profiles, [day]).filter(pl.col("customer_key").is_in(_keys_of(shop, customer))).collect()
    if found.is_empty():
        raise _refuse(f"no profile of this customer as of {day}", FAILED)
    if as_json:
        out.print_json(json.dumps(_rows(found)[0], default=str))
        return
    table = Table("column", "value", "meaning", title=f"Profile as of {day}")
    for column in profiles.columns:
        value = found[column.name][0]
        shown = "" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(
            value.to_list() if isinstance(value, pl.Series) else value
        )
        table.add_row(column.name, shown, column.description)
    out.print(table)


def _keys_of(shop: Settings, customer: str) -> list[int]:
    """Give the keys that a customer may stand under, named as the shop does or by key."""
    from insight_assets.validation.key_ring import ANALYTICS, read_ring
    from insight_assets.validation.pseudonyms import CUSTOMER, pseudonymiser

    ring = read_ring(shop.key_file) if shop.key_file.exists() else None
    keys = [pseudonymiser(ring.current(ANALYTICS).secret)(CUSTOMER, customer)] if ring else []
    return keys + ([int(customer)] if customer.isdigit() and len(customer) <= 19 else [])  # noqa: PLR2004


@app.command()
def similar(
    customer: Annotated[str, typer.Argument(help="Customer as the shop names them, or their customer_key")],
    home: Home = None,
    as_of: Annotated[str | None, typer.Option(help="As-of day (default: the newest)")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most customers to show")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the customers whose behaviour is most like one customer's, by the vectors of the behaviour encoder."""
    from insight_assets.contracts.catalogue import contract
    from insight_assets.insights.behaviour.similar import similar_customers
    from insight_assets.lake import Lake

    shop = _home(home)
    lake, vectors = Lake(shop.lake), contract("behaviour_vectors")
    day = _day_of(lake, vectors, as_of)
    told = lake.scan(vectors, [day]).select("customer_key", "vector", "events_read", "order_chance").collect()
    known = [key for key in _keys_of(shop, customer) if key in told["customer_key"]]
    if not known:
        raise _refuse(f"no vector of this customer as of {day}", FAILED)
    listed = similar_customers(told, known[0], most=limit)
    shown = listed.join(told.drop("vector"), on="customer_key", maintain_order="left")
    _print_frame(shown, as_json=as_json)


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Give rows for JSON; 64-bit keys as text, since many readers of JSON round them."""
    keys = [name for name in frame.columns if name.endswith("_key")]
    return frame.with_columns(pl.col(keys).cast(pl.String), pl.col(pl.Decimal).cast(pl.Float64)).to_dicts()


def _print_frame(frame: pl.DataFrame, *, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps(_rows(frame), default=str))
        return
    from insight_assets.terminal import lay_out

    for table in lay_out(frame, out.width):
        # Cells are folded to the width; a soft wrap would leave that to the terminal.
        out.print(table, soft_wrap=False)


@app.command("export-encoder")
def export_encoder_command(
    home: Home = None,
    as_of: Annotated[str | None, typer.Option(help="As-of day of the encoder (default: the newest)")] = None,
    into: Annotated[Path | None, typer.Option(help="Folder to write into (default: served/ in the home)")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the behaviour encoder as files for a serving process, which needs no torch to read customers."""
    from insight_assets.insights.behaviour import model_files, served_files
    from insight_assets.insights.behaviour.assets import MODELS
    from insight_assets.ml.behaviour.export import ExportNotInstalledError
    from insight_assets.ml.model_store import ModelDamaged, ModelMissing
    from insight_assets.resources import ModelStore

    shop = _home(home)
    made = shop.models / MODELS
    day = _day(as_of) or max((_day(path.name) for path in made.glob("????-??-??")), default=None)
    if day is None:
        raise _refuse(f"there is no encoder yet. Next: insight build --select {MODELS}")
    place = (into or shop.home / "served").absolute() / MODELS / day.isoformat()
    try:
        models = ModelStore(root=str(shop.models))
        version = models.version(MODELS, day)
        written = served_files.export(model_files.load(models.reading(MODELS, day)), place, version=version)
    except (ExportNotInstalledError, ModelDamaged, ModelMissing, ValueError) as error:
        raise _refuse(str(error)) from None
    told = {"place": str(place), "as_of": str(day), "version": version, "content_hash": written.content_hash}
    if as_json:
        out.print_json(json.dumps(told))
    else:
        console.print(f"encoder {version} of {day} is in {place}", highlight=False)


@app.command("rotate-key")
def rotate_key_command(
    home: Home = None,
    purpose: Annotated[str, typer.Option(help="Purpose of the key, e.g. analytics, marketing or vault")] = "analytics",
    drop_retired: Annotated[bool, typer.Option("--drop-retired", help="Instead forget the purpose's retired keys for ever")] = False,
) -> None:
    """Give a purpose a new key; the next build makes anew whatever the old one made."""
    from insight_assets import building
    from insight_assets.validation.key_ring import PURPOSES, SUPPRESSION, drop_retired_keys, rotate_key

    shop = _home(home)
    if purpose not in PURPOSES:
        raise _refuse(f"unknown purpose {purpose!r}; one of {', '.join(PURPOSES)}")
    if drop_retired and purpose == SUPPRESSION:
        raise _refuse("people suppressed under a retired key would come back; its keys are kept")
    try:
        with building.exclusive(shop.home):
            if drop_retired:
                gone = drop_retired_keys(shop.key_file, purpose)
                console.print(f"dropped: {', '.join(gone) or 'nothing'}", highlight=False)
                return
            made = rotate_key(shop.key_file, purpose)
    except building.BuildBusy as error:
        raise _refuse(str(error), BUSY) from None
    console.print(
        f"{made.id} is the key for {PURPOSES[purpose]}. Next: back up {shop.key_file}, start a running `insight ui` again, "
        f"insight build. The retired key is kept to re-map exports; once none is left: insight rotate-key "
        f"--purpose {purpose} --drop-retired",
        highlight=False,
    )


@app.command("suppress")
def suppress_command(
    customer: Annotated[str, typer.Argument(help="Customer, visitor, e-mail or telephone as the files write it")],
    home: Home = None,
) -> None:
    """Leave a person's rows out of all tables from the next build on."""
    from insight_assets import building
    from insight_assets.validation.key_ring import read_ring
    from insight_assets.validation.suppression import list_beside, suppress

    shop = _home(home)
    if not customer.strip():
        raise _refuse("an empty name is nobody's; write the customer as the files do")
    try:
        with building.exclusive(shop.home):
            added = suppress(list_beside(shop.key_file), customer, read_ring(shop.key_file))
    except building.BuildBusy as error:
        raise _refuse(str(error), BUSY) from None
    told = "is on the list of people left out" if added else "was on the list already"
    console.print(f"the person {told}. Next: start a running `insight ui` again, insight build", highlight=False)


@app.command()
def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """Look at environment, settings, instance, lake and devices; say what is wrong and how to mend it."""
    from insight_assets.diagnosis import examine

    findings = examine(_home(home))
    if as_json:
        out.print_json(json.dumps([{"what": f.what, "state": f.state, "found": f.found, "mend": f.mend} for f in findings]))
    else:
        colours = {"ok": "green", "note": "yellow", "wrong": "red"}
        for finding in findings:
            out.print(f"[{colours[finding.state]}]{finding.state:5}[/] {finding.what}: {finding.found}", highlight=False)
            if finding.mend:
                out.print(f"      {finding.mend}", highlight=False)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(FAILED)


@app.command()
def ui(
    home: Home = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1")] = 3000,
) -> None:
    """Open Dagster on 127.0.0.1 over the home's instance."""
    from insight_assets.building import open_instance
    from insight_assets.killed_runs import close_killed_runs

    shop = _home(home)
    with open_instance(shop) as instance:
        # What a killed build held in a pool would be waited for.
        close_killed_runs(instance, {})
    console.print(f"Dagster: http://127.0.0.1:{port}  (end with Ctrl-C)", highlight=False)
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port), "-m", "insight_assets.definitions"]
    os.execv(command[0], command)  # noqa: S606


@app.command()
def demo(home: Home = None, seed: Annotated[int, typer.Option(help="Seed of the simulated shop")] = 7) -> None:
    """Simulate a small shop, build everything, and say where to look."""
    shop = _home(home)
    started = time.monotonic()
    if any((shop.landing / "segment").glob("segment-*")):
        console.print("the shop is simulated already", highlight=False)
    else:
        _simulate(shop, "small", "ndjson", seed=seed)
    shop = settings()
    report = _build(shop, None, None, None, None)
    _print_report(report)
    from insight_assets.summary import summarise

    for line in summarise(settings(), report.as_of[-1]):
        out.print(line, highlight=False)
    out.print(f"\nbuilt in {timedelta(seconds=round(time.monotonic() - started))}", highlight=False)
    if report.failures:
        raise typer.Exit(FAILED)


if __name__ == "__main__":
    main()
