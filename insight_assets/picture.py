"""What is there, as planning wants to see it: the asset graph, the partitions that were made, and what has landed.

Reads Dagster's graph and history and the landing inventory; decides nothing (that is `planning`) and runs nothing (that
is `building` for the command line, the sensor and the automation conditions for Dagster's daemon).
"""

from collections.abc import Collection
from datetime import date, timedelta

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from insight_assets.contracts.sources import SourceContract
from insight_assets.ingestion.landing import Inventory
from insight_assets.ingestion.raw import PREFIX, pending_days, reread_days
from insight_assets.lake import Lake
from insight_assets.metadata import partition_states
from insight_assets.planning import Edge, Made, Node, Step, plan_rows
from insight_assets.settings import settings
from insight_assets.validation.rate_files import RATES, changed_days


def read_nodes(graph: AssetGraph) -> list[Node]:
    """Picture the asset graph for planning, in the order of the flow.

    Args:
        graph: the graph of a code location's definitions.
    """
    nodes = []
    for key in graph.toposorted_asset_keys:
        asset = graph.get(key)
        if not asset.is_executable:
            continue
        inputs = {each.name: each for each in asset.assets_def.node_def.input_defs}
        optional = {
            parent
            for name, parent in asset.assets_def.keys_by_input_name.items()
            if (inputs[name].metadata or {}).get("allow_missing_partitions")
        }
        edges = []
        for parent in sorted(asset.parent_keys):
            if not graph.get(parent).is_executable:
                continue
            mapping = asset.partition_mappings.get(parent)
            first, last = getattr(mapping, "start_offset", 0), getattr(mapping, "end_offset", 0)
            edges.append(Edge(parent.to_user_string(), first, last, parent in optional))
        name = key.to_user_string()
        together = {k.to_user_string() for k in asset.execution_set_asset_keys if isinstance(k, dg.AssetKey)} | {name}
        nodes.append(
            Node(
                name=name,
                by_event_day=asset.backfill_policy is not None,
                code_version=asset.code_version,
                edges=tuple(edges),
                together=frozenset(together),
                needs_closed_origin=bool(asset.metadata.get("needs_closed_origin")),
                is_raw=name.startswith(PREFIX) or name == RATES,
            )
        )
    return nodes


class Picture:
    """The graph and the history of a home; what was read is kept until it is read again.

    Attributes:
        nodes: assets in the order of the flow.
        states: published partitions by asset and day.
    """

    def __init__(self, graph: AssetGraph, instance: dg.DagsterInstance) -> None:
        """Picture the graph; the history is read when it is asked for."""
        self.instance = instance
        self.nodes = read_nodes(graph)
        self.states: dict[str, dict[date, Made]] = {}

    def read_states(self, names: Collection[str] | None = None) -> dict[str, dict[date, Made]]:
        """Read the history of some assets, or of all.

        Args:
            names: assets whose history may have changed since it was read; None means all.
        """
        for node in self.nodes:
            if names is None or node.name in names:
                found = partition_states(self.instance, node.name)
                self.states[node.name] = {
                    date.fromisoformat(key): Made(state.read_at, state.since, state.code_version, state.content_hash)
                    for key, state in found.items()
                }
        return self.states

    def next_rows(
        self,
        first: date,
        last: date,
        inventory: Inventory,
        lake: Lake,
        sources: Collection[SourceContract],
        *,
        selected: Collection[str] | None = None,
        touched: Collection[str] | None = None,
        failed: Collection[tuple[str, date]] = (),
    ) -> Step | None:
        """Decide the next run over event days.

        Args:
            first: first event day to look at.
            last: last event day to look at.
            inventory: what has landed.
            lake: what was loaded.
            sources: source contracts.
            selected: names of the assets that may be made; None means all.
            touched: assets whose history may have changed since it was last read; None means all.
            failed: partitions to leave alone.
        """
        days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
        nodes = [node for node in self.nodes if node.by_event_day and (selected is None or node.name in selected)]
        wanted = {node.name for node in self.nodes if node.by_event_day} if touched is None else touched
        states = self.read_states(wanted)
        landed = {}
        for source in sources:
            name, files = PREFIX + source.name, inventory.files(source.name)
            if any(file.rows for file in files):
                held = {day: made.content_hash for day, made in states.get(name, {}).items()}
                landed[name] = set(pending_days(inventory, lake, source)) | reread_days(source, files, held)
        if any(node.name == RATES for node in nodes):
            published = {day: made.content_hash for day, made in states[RATES].items()}
            landed[RATES] = changed_days(
                inventory.root / RATES, published, days, max_age_days=settings().rate_max_age_days
            )
        return plan_rows(nodes, days, states, landed, failed)

    def newest(self, step: Step) -> float:
        """Give the Unix time of the newest content that a step would read; 0 when it reads no table."""
        edges = [edge for node in self.nodes if node.name in step.assets for edge in node.edges]
        times = [
            made.since
            for edge in edges
            for day, made in self.states.get(edge.parent, {}).items()
            if step.days[0] + timedelta(days=edge.first) <= day <= step.days[-1] + timedelta(days=edge.last)
        ]
        return max(times, default=0.0)
