"""The code location as a whole: it loads, every asset says what it is, and nothing heavy is imported by loading it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from insight_assets.contracts.catalogue import contracts
from insight_assets.definitions import GROUPS, build_defs, versioned
from insight_assets.ingestion.assets import LANDING_PREFIX, SOURCES
from insight_assets.ingestion.raw import PREFIX
from insight_assets.metadata import CARD_KEY, GPU_POOL, PEOPLE
from insight_assets.purposes import CONSENTED_PURPOSES, PURPOSES
from insight_assets.settings import Settings, settings

PACKAGE = Path(__file__).parents[1] / "insight_assets"
HEAVY = {
    "torch", "scipy", "pytorch_lightning", "lightning", "sklearn", "pandera", "great_expectations", "altair", "pandas",
    "skops", "splink", "duckdb", "sqlglot",
}
MAY_IMPORT_DAGSTER = {
    "assets.py", "checks.py", "sensors.py", "definitions.py", "resources.py", "io_managers.py", "partitions.py",
    "metadata.py", "picture.py", "automation.py", "building.py", "killed_runs.py", "diagnosis.py", "event_log.py",
}


TABLES = {name: of for name, of in contracts().items() if name != f"value_{settings().horizon_days}d_grades"}
"""Contracts of tables that there are; a window as long as the shop's horizon is graded with it."""


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return build_defs()


def test_the_code_location_is_loadable(defs):
    dg.Definitions.validate_loadable(defs)


def test_only_landing_folders_come_from_outside(defs):
    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.external_asset_keys} == {LANDING_PREFIX + name for name in SOURCES}


def test_every_asset_says_what_it_is(defs):
    for spec in defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.description, name
        assert spec.owners, name
        assert spec.kinds, name
        assert "layer" in spec.tags, name
        assert spec.group_name not in {None, "default"}, name


def test_no_asset_is_without_a_purpose(defs):
    for spec in defs.resolve_all_asset_specs():
        assert spec.tags.get("purpose") in PURPOSES, spec.key.to_user_string()


def test_who_reads_of_people_for_a_purpose_reads_who_they_are_and_what_they_allowed(defs):
    graph = defs.resolve_asset_graph()
    for spec in defs.resolve_all_asset_specs():
        if spec.tags["purpose"] in CONSENTED_PURPOSES:
            parents = {key.to_user_string() for key in graph.get(spec.key).parent_keys}
            assert set(PEOPLE) <= parents, spec.key.to_user_string()


def test_every_table_about_people_as_of_a_day_has_a_purpose_that_needs_consent(defs):
    graph = defs.resolve_asset_graph()
    # The state of actors rolls the shop's own days up; whoever reads it for a purpose sees only people who agreed.
    keeps_the_books = {"identities", "consents", "customer_state"}
    for name, of in TABLES.items():
        snapshot = graph.get(dg.AssetKey(name)).backfill_policy is None
        if snapshot and "customer_key" in of.polars_schema() and name not in keeps_the_books:
            assert graph.get(dg.AssetKey(name)).tags["purpose"] in CONSENTED_PURPOSES, name


def test_tables_and_contracts_match_one_to_one(defs):
    tables = {
        spec.key.to_user_string()
        for spec in defs.resolve_all_asset_specs()
        if "dagster/column_schema" in spec.metadata and not spec.key.to_user_string().startswith(PREFIX)
    }
    assert tables == set(TABLES)
    raw = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if spec.group_name == "raw"}
    assert raw == {PREFIX + name for name in SOURCES}


def test_every_table_has_a_data_card_of_its_contract(defs):
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    for name, of in TABLES.items():
        assert f"| contract | {name} {of.version}, {of.stage} |" in specs[name].metadata[CARD_KEY].value
        assert f"| purpose | {specs[name].tags['purpose']}" in specs[name].metadata[CARD_KEY].value


def test_column_schemas_carry_descriptions_and_privacy_tags(defs):
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    schema = specs["events"].metadata["dagster/column_schema"]
    columns = {column.name: column for column in getattr(schema, "schema", schema).columns}
    assert columns["customer_key"].tags == {"pii": "pseudonym"}
    assert all(column.description for column in columns.values())


@pytest.mark.parametrize(
    ("horizon_days", "ruled_out"), [(15, {"churn_30d_grades", "churn_60d_grades"}), (365, {"value_365d_grades"})]
)
def test_a_horizon_that_is_not_told_of_has_no_grades(horizon_days, ruled_out):
    probe = (
        "from insight_assets.contracts.catalogue import contracts; from insight_assets.definitions import build_defs;"
        "defs = build_defs(); defs.validate_loadable(defs);"
        "made = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()};"
        "print(*sorted(set(contracts()) - made))"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", probe], capture_output=True, text=True, check=True,
        env=os.environ | {"INSIGHT_HORIZON_DAYS": str(horizon_days)},
    )  # fmt: skip
    assert set(found.stdout.split()) == ruled_out


def test_networks_are_trained_in_the_pool_of_the_device(defs):
    graph = defs.resolve_asset_graph()
    pools = {key.to_user_string(): graph.get(key).pools for key in graph.materializable_asset_keys}
    assert {name for name, of in pools.items() if of} == {"behaviour_encoder", "churn_models", "lifetime_value_models"}
    assert set().union(*pools.values()) == {GPU_POOL}


def test_loading_imports_nothing_heavy():
    probe = (
        "import sys; from insight_assets.definitions import defs; defs();"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip().splitlines()[-1] == "[]"


def test_only_the_shell_imports_dagster():
    strangers = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.name not in MAY_IMPORT_DAGSTER and "dagster" in _imports(path, top_level_only=False)
    ]
    assert strangers == []


def test_assets_modules_do_not_postpone_annotations():
    postponed = [
        path for path in PACKAGE.rglob("*.py")
        if path.name in MAY_IMPORT_DAGSTER and "from __future__ import annotations" in path.read_text(encoding="utf-8")
    ]
    assert postponed == []


CLOCKS = {("datetime", "now"), ("datetime", "today"), ("datetime", "utcnow"), ("date", "today"), ("time", "time")}
MAY_READ_THE_CLOCK = {"cli.py", "building.py", "io_managers.py"}


def test_no_asset_reads_the_clock():
    readers = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path.name not in MAY_READ_THE_CLOCK
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr) in CLOCKS
    ]
    assert readers == []


def test_no_file_is_opened_that_could_run_code():
    forbidden = re.compile(r"\b(pickle|joblib|cloudpickle|dill|shelve)\.(load|loads|dump|dumps|open)\b|weights_only=False")
    users = [str(path) for path in PACKAGE.rglob("*.py") if forbidden.search(path.read_text(encoding="utf-8"))]
    assert users == []


def test_only_settings_reads_the_environment():
    readers = [
        str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")
        if path.name != "settings.py" and ("os.environ" in path.read_text(encoding="utf-8") or "getenv" in path.read_text(encoding="utf-8"))
    ]
    assert readers == []


def _imports(path: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("setting", "value", "stale"),
    [
        ("k_anonymity", 11, {"segment_summary", "churn_slices", "ledger_grades", "product_associations", "cohort_retention"}),
        ("lightgbm", True, {"churn_models"}),
        ("encoder_batch", 1_024, {"behaviour_encoder", "behaviour_vectors"}),
        ("min_history_days", 15, {"churn_models", "lifetime_value_models", "ledger_grades"}),
        ("migration_days", 31, {"segment_transitions", "previous_segments"}),
    ],
)
def test_what_a_setting_shapes_is_stale_when_it_changes(setting, value, stale):
    def versions(shop: Settings) -> dict[str, str]:
        return {
            spec.key.to_user_string(): spec.code_version
            for group, module in GROUPS.items()
            for asset in dg.load_assets_from_modules([module], group_name=group)
            for spec in versioned(asset, shop).specs
        }

    before, after = versions(settings()), versions(settings().model_copy(update={setting: value}))
    changed = {name for name in before if before[name] != after[name]}
    assert stale <= changed
    assert not {"events", "customer_days", "customer_features"} & changed
