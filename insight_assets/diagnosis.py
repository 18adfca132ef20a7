"""What `insight doctor` looks at, and how to mend what is wrong. Reads only."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from insight_assets.settings import HOME_SETTINGS_FILE, Settings

PINNED = ("dagster", "polars", "deltalake", "pandera", "great-expectations", "scikit-learn", "pytorch-lightning", "torch")
_LITTLE_DISK = 2_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, whether it is right, and how to mend it."""

    what: str
    state: Literal["ok", "note", "wrong"]
    found: str
    mend: str = ""


def examine(shop: Settings) -> list[Finding]:
    """Look at everything a build needs.

    Args:
        shop: the settings.

    Returns:
        Findings in the order in which they are worth reading.
    """
    looks: tuple[Callable[[Settings], list[Finding]], ...] = (
        _environment, _home, _key, _contracts, _landing, _instance, _lake, _devices,
    )
    findings: list[Finding] = []
    for look in looks:
        try:
            findings += look(shop)
        except Exception as error:  # noqa: BLE001  (a doctor reports what he trips over)
            findings.append(Finding(look.__name__.strip("_"), "wrong", f"{type(error).__name__}: {error}"))
    return findings


def _environment(_: Settings) -> list[Finding]:
    findings = [Finding("python", "ok", sys.version.split()[0])]
    for name in PINNED:
        try:
            findings.append(Finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name, "wrong", "not installed", "pip install -c constraints.txt -e '.[dev]'"))
    return findings


def _home(shop: Settings) -> list[Finding]:
    if not shop.home.exists():
        return [Finding("home", "note", f"{shop.home} does not exist yet", "insight demo, or insight land SOURCE FILES")]
    if not os.access(shop.home, os.W_OK):
        return [Finding("home", "wrong", f"{shop.home} cannot be written", "chown it to yourself, or set INSIGHT_HOME")]
    free = shutil.disk_usage(shop.home).free
    state = "wrong" if free < _LITTLE_DISK else "ok"
    span = f"{shop.start_date} to {shop.end_date or 'today'}, {shop.timezone}, horizon {shop.horizon_days} days"
    return [
        Finding("home", "ok", str(shop.home)),
        Finding("disk", state, f"{free / 1e9:.1f} GB free", "free some space" if state == "wrong" else ""),
        Finding("settings", "ok", f"{span} (environment, then {HOME_SETTINGS_FILE})"),
    ]


def _key(shop: Settings) -> list[Finding]:
    if not shop.key_file.exists():
        return [Finding("pseudonym key", "note", "made on first use")]
    if shop.key_file.stat().st_mode & 0o077:
        return [Finding("pseudonym key", "wrong", "others may read it", f"chmod 600 {shop.key_file}")]
    from insight_assets.validation.key_ring import ANALYTICS, read_ring
    from insight_assets.validation.suppression import list_beside, read_suppressed

    ring, suppressed = read_ring(shop.key_file), read_suppressed(list_beside(shop.key_file))
    used = f"{shop.key_file} (mode 600), {ring.current(ANALYTICS).id} in use; back it up: without it pseudonyms change"
    return [
        Finding("pseudonym key", "ok", used),
        Finding("suppression list", "ok", f"{len(suppressed.hashes)} identifiers of people whose rows are left out"),
    ]


def _contracts(shop: Settings) -> list[Finding]:
    from insight_assets.contracts.catalogue import contracts
    from insight_assets.contracts.sources import source_contracts

    return [Finding("contracts", "ok", f"{len(contracts())} tables, {len(source_contracts(shop.sources))} sources")]


def _landing(shop: Settings) -> list[Finding]:
    from insight_assets.ingestion.landing import Inventory

    if not shop.landing.exists():
        return [Finding("landing", "note", "nothing has landed", "insight land SOURCE FILES")]
    files = Inventory.of(shop).files()
    refused = [file for file in files if file.status == "refused"]
    findings = [Finding("landing", "ok", f"{len(files)} files, {sum(file.rows for file in files):,} rows")]
    findings += [Finding(f"file {file.source}/{file.name}", "wrong", "refused", file.reason) for file in refused[:20]]
    return findings


def _instance(shop: Settings) -> list[Finding]:
    import dagster as dg

    if not (shop.dagster_home / "dagster.yaml").exists():
        return [Finding("dagster instance", "note", "made by the first build")]
    with dg.DagsterInstance.from_config(str(shop.dagster_home)) as instance:
        running = instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        failed = instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        total = instance.get_runs_count()
    mend = "the next `insight build` closes runs whose process is gone" if running else ""
    return [Finding("dagster instance", "ok", f"{total} runs, {failed} failed, {running} running", mend)]


def _lake(shop: Settings) -> list[Finding]:
    from insight_assets.lake import Lake

    if not shop.lake.exists():
        return [Finding("lake", "note", "no table yet", "insight build")]
    lake = Lake(shop.lake)
    tables = sorted(path.name for path in shop.lake.iterdir() if lake.exists(path.name))
    return [Finding("lake", "ok", f"{len(tables)} tables: {', '.join(tables)}")]


def _devices(_: Settings) -> list[Finding]:
    import torch

    if torch.cuda.is_available():
        return [Finding("device", "ok", f"{torch.cuda.device_count()} GPU: {torch.cuda.get_device_name(0)}")]
    return [Finding("device", "ok", f"CPU, {os.cpu_count()} cores; training uses a GPU where there is one")]
