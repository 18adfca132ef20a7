"""A small simulated shop in a home of its own, driven through the command line as a user would."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from insight_assets.building import open_instance
from insight_assets.metadata import partition_states
from insight_assets.settings import Settings

# 150 customers over 45 days with a horizon of 15: the last day has models, and one origin before it has closed.
CUSTOMERS, DAYS, HORIZON_DAYS = 150, 45, 15
FIRST_DAY, LAST_DAY = "2025-01-01", "2025-02-14"


@dataclass(frozen=True)
class Home:
    """A home folder and the way to run commands on it."""

    path: Path
    settings: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, expect: int | None = 0, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(*arguments), env=self.environment(), capture_output=True, text=True, timeout=timeout)
        if expect is not None:
            assert done.returncode == expect, done.stdout + done.stderr
        return done

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-W", "ignore", "-m", "insight_assets.cli", *arguments]

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("INSIGHT_", "DAGSTER_"))}
        ours = {
            "INSIGHT_HOME": str(self.path), "INSIGHT_HORIZON_DAYS": str(HORIZON_DAYS), "INSIGHT_MAX_EPOCHS": "2",
            "INSIGHT_SETTLE_SECONDS": "0",
        }
        return kept | ours | self.settings

    def build(self, *arguments: str, expect: int | None = 0) -> dict:
        return json.loads(self.run("build", "--json", *arguments, expect=expect).stdout)

    def show(self, table: str, *arguments: str) -> list[dict]:
        return json.loads(self.run("show", table, "--json", *arguments).stdout)

    def instance(self) -> dg.DagsterInstance:
        return open_instance(Settings(home=self.path))

    def hashes(self, *tables: str) -> dict[str, dict[str, str]]:
        with self.instance() as instance:
            return {
                table: {day: state.content_hash for day, state in partition_states(instance, table).items()} for table in tables
            }

    def made_at(self, *tables: str) -> dict[str, dict[str, float]]:
        with self.instance() as instance:
            return {table: {day: state.at for day, state in partition_states(instance, table).items()} for table in tables}


ROW_TABLES = (
    "events", "order_lines", "orders", "product_history", "identity_links", "sessions", "customer_days", "product_days",
)
SNAPSHOTS = (
    "identities", "quarantined_links", "consents",
    "customer_features", "product_features", "event_sequences", "rfm_segments", "lifecycle_states", "cohort_retention",
    "customer_clusters", "churn_scores", "intent_scores", "session_intent_scores", "lifetime_value_scores",
    "recommendations", "product_associations", "propensity_scores", "prediction_ledger", "intent_ledger",
    "session_intent_ledger", "propensity_ledger", "recommendation_ledger", "ledger_grades", "purchase_7d_grades",
    "purchase_30d_grades", "session_intent_grades", "champion_history", "customer_profiles", "segment_summary",
)
