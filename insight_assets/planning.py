"""What has to be built: which partitions are missing or older than what they were made from.

Pure decisions over a picture of the asset graph and of the published partitions. Reading that picture from Dagster is
in `picture.py`; what is decided here is run by `building.py` and by `automation.py`.

A partition is stale when it was never published, was made by another code version, or when the content of something it
was made from changed after it was made. A partition made again with the same content makes nothing stale.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

ONE_DAY = timedelta(days=1)
_NEAR = -1


@dataclass(frozen=True)
class Edge:
    """What one partition of a table reads of another table.

    Attributes:
        parent: the other table.
        first: first day read, relative to the partition's own.
        last: last day read, relative to the partition's own.
        optional: whether the partition can be made without it.
    """

    parent: str
    first: int = 0
    last: int = 0
    optional: bool = False


@dataclass(frozen=True)
class Node:
    """One asset.

    Attributes:
        name: asset name.
        by_event_day: whether a partition is an event day; else it is an as-of day.
        code_version: version of the code that would make it now.
        edges: what it reads.
        together: assets that one step makes together with it, itself included.
        needs_closed_origin: whether it learns from labels, and so needs a horizon that has closed.
        is_raw: whether landed files, not tables, decide what is missing.
    """

    name: str
    by_event_day: bool
    code_version: str | None
    edges: tuple[Edge, ...]
    together: frozenset[str]
    needs_closed_origin: bool = False
    is_raw: bool = False


@dataclass(frozen=True)
class Made:
    """When a partition was made, with which code, what it holds, and since when (Unix time)."""

    at: float
    since: float
    code_version: str | None
    content_hash: str = ""


@dataclass(frozen=True)
class Step:
    """One run to launch: assets and the days or the as-of day to make of them."""

    assets: tuple[str, ...]
    days: tuple[date, ...]


States = Mapping[str, Mapping[date, Made]]


def is_stale(node: Node, day: date, states: States) -> bool:
    """Tell whether a partition has to be made."""
    made = states[node.name].get(day)
    if made is None or made.code_version != node.code_version:
        return True
    return any(
        states[edge.parent][key].since > made.at
        for edge in node.edges
        for key in _read_days(edge, day, states.get(edge.parent, {}))
    )


def _read_days(edge: Edge, day: date, keys: Collection[date]) -> Iterator[date]:
    """Give those of some days that a partition reads; a short window is walked through, a long one looked up."""
    if edge.last - edge.first < len(keys):
        window = (day + timedelta(days=offset) for offset in range(edge.first, edge.last + 1))
        return (key for key in window if key in keys)
    return (key for key in keys if edge.first <= (key - day).days <= edge.last)


def days_of_others(states: States, nodes: Collection[Node], people: str) -> dict[date, set[str]]:
    """Find what holds pseudonyms of a key that is no longer used, or people who are left out by now.

    Args:
        states: published partitions.
        nodes: assets to look at; raw ones have no pseudonyms.
        people: how the code version of everything ends that was made with the keys and people of now.

    Returns:
        Day to the assets whose partition of that day was made with others.
    """
    found: dict[date, set[str]] = {}
    for node in nodes:
        for day, made in states.get(node.name, {}).items():
            if not node.is_raw and not (made.code_version or "").endswith(f"-{people}"):
                found.setdefault(day, set()).add(node.name)
    return dict(sorted(found.items()))


def plan_rows(
    nodes: Sequence[Node], days: Sequence[date], states: States, landed: Mapping[str, Collection[date]],
    failed: Collection[tuple[str, date]] = (),
) -> Step | None:
    """Choose the next run over event days.

    Args:
        nodes: assets by event day, in the order of the flow.
        days: days to bring up to date.
        states: published partitions.
        landed: raw asset to the days for which it lacks landed rows; raw assets without landed files are absent.
        failed: partitions that failed already and are left alone, with all that depends on them.

    Returns:
        Assets that share the same stale days, and the first unbroken stretch of those days; None when all is fresh.
    """
    stale = _stale_rows(nodes, days, states, landed)
    barred = _barred(nodes, days, failed)
    stale = {name: found - barred[name] for name, found in stale.items()}
    first = next((node for node in nodes if stale[node.name]), None)
    if first is None:
        return None
    wanted = stale[first.name]
    chosen: list[str] = []
    for node in nodes:
        ready = all(edge.parent in chosen or not stale.get(edge.parent) for edge in node.edges)
        if stale[node.name] == wanted and ready:
            chosen.append(node.name)
    return Step(tuple(chosen), first_stretch(wanted))


def _stale_rows(
    nodes: Sequence[Node], days: Sequence[date], states: States, landed: Mapping[str, Collection[date]]
) -> dict[str, set[date]]:
    stale: dict[str, set[date]] = {}
    # A long look back seldom changes the days it reaches: what follows from them waits until they were made.
    changing: dict[str, set[date]] = {}
    for node in nodes:
        if node.is_raw:
            lacking = set(landed.get(node.name, ()))
            outdated = {d for d in days if node.name in landed and is_stale(node, d, {node.name: states[node.name]})}
            stale[node.name] = changing[node.name] = (lacking | outdated) & set(days)
            continue
        near = replace(node, edges=tuple(e if e.first >= _NEAR else replace(e, first=0) for e in node.edges))
        stale[node.name] = _stale_days(node, days, states, changing)
        changing[node.name] = _stale_days(near, stale[node.name], states, changing)
    for node in nodes:
        stale[node.name] = set().union(*(stale.get(name, set()) for name in node.together))
    return stale


def _stale_days(
    node: Node, days: Collection[date], states: States, changing: Mapping[str, Collection[date]]
) -> set[date]:
    own = {day for day in days if is_stale(node, day, states)}
    caused = {
        day
        for edge in node.edges
        for day in days
        if any(True for _ in _read_days(edge, day, changing.get(edge.parent, ())))
    }
    return own | caused


def _barred(nodes: Sequence[Node], days: Sequence[date], failed: Collection[tuple[str, date]]) -> dict[str, set[date]]:
    barred: dict[str, set[date]] = {}
    for node in nodes:
        own = {day for name in node.together for other, day in failed if other == name}
        caused = {
            day
            for edge in node.edges
            for day in days
            if any(True for _ in _read_days(edge, day, barred.get(edge.parent, ())))
        }
        barred[node.name] = own | caused
    return barred


def first_stretch(days: Collection[date]) -> tuple[date, ...]:
    """Give the first run of consecutive days."""
    ordered = sorted(days)
    stretch = ordered[:1]
    for day in ordered[1:]:
        if day - stretch[-1] != ONE_DAY:
            break
        stretch.append(day)
    return tuple(stretch)


@dataclass(frozen=True)
class Snapshots:
    """As-of partitions to have.

    Attributes:
        wanted: as-of day to assets, in the order in which they are to be made.
        missing: asset to why it cannot be made for the as-of day asked for.
    """

    wanted: Mapping[date, tuple[str, ...]]
    missing: Mapping[str, str]


def need_snapshots(
    nodes: Sequence[Node], as_of: date, states: States, *, first_day: date, horizon_days: int, min_history_days: int,
    selected: Collection[str],
) -> Snapshots:
    """Find every as-of partition that a snapshot rests on.

    Args:
        nodes: all assets, in the order of the flow.
        as_of: the as-of day asked for.
        states: published partitions.
        first_day: first day with data.
        horizon_days: label horizon.
        min_history_days: history an origin needs.
        selected: names of the assets asked for.

    Returns:
        What to have, and what cannot be had, with reasons that a person understands.
    """
    by_name = {node.name: node for node in nodes}
    verdicts: dict[tuple[str, date], str] = {}

    def reason(name: str, day: date) -> str:
        if (name, day) not in verdicts:
            verdicts[name, day] = _obstacle(by_name[name], day)
        return verdicts[name, day]

    def _obstacle(node: Node, day: date) -> str:
        if day < first_day:
            return f"{day} lies before the first day with data, {first_day}"
        if node.needs_closed_origin and (day - first_day).days + 1 < horizon_days + min_history_days:
            enough = first_day + timedelta(days=horizon_days + min_history_days - 1)
            return f"no horizon of {horizon_days} days has closed with {min_history_days} days of history before {enough}"
        for edge in node.edges:
            parent = by_name.get(edge.parent)
            if parent is None or edge.optional:
                continue
            if parent.by_event_day:
                start = max(first_day, day + timedelta(days=max(edge.first, -(day - first_day).days)))
                gap = _first_gap(start, day + timedelta(days=edge.last), states[parent.name])
                if gap is not None:
                    closes = day + timedelta(days=edge.last)
                    what = f"its horizon closes on {closes}" if edge.last > 0 else f"{gap} is not published"
                    return f"{parent.name}: {what}"
            else:
                found = reason(parent.name, day + timedelta(days=edge.first))
                if found:
                    return found
        return ""

    wanted: dict[date, set[str]] = {}

    def want(name: str, day: date) -> None:
        if reason(name, day) or name in wanted.get(day, set()):
            return
        # One step makes them all: none of them can be made alone.
        wanted.setdefault(day, set()).update(by_name[name].together & by_name.keys())
        for edge in by_name[name].edges:
            parent = by_name.get(edge.parent)
            if parent is not None and not parent.by_event_day:
                want(parent.name, day + timedelta(days=edge.first))

    asked = [node.name for node in nodes if not node.by_event_day and node.name in selected]
    for name in asked:
        want(name, as_of)
    order = [node.name for node in nodes]
    return Snapshots(
        {day: tuple(sorted(names, key=order.index)) for day, names in sorted(wanted.items())},
        {name: reason(name, as_of) for name in asked if reason(name, as_of)},
    )


def _first_gap(start: date, end: date, published: Mapping[date, Made]) -> date | None:
    day = start
    while day <= end:
        if day not in published:
            return day
        day += ONE_DAY
    return None


def plan_snapshots(
    nodes: Sequence[Node], need: Snapshots, states: States, failed: Collection[tuple[str, date]] = ()
) -> Step | None:
    """Choose the next run over as-of days: the stale assets of the earliest as-of day that has any."""
    by_name = {node.name: node for node in nodes}
    for day, names in need.wanted.items():
        stale: list[str] = []
        barred: set[str] = set()
        for name in names:
            node = by_name[name]
            needed = [edge.parent for edge in node.edges if not edge.optional and edge.first == edge.last == 0]
            if (name, day) in failed or barred & set(needed):
                barred.add(name)
            elif is_stale(node, day, states) or any(e.parent in stale and e.first == e.last == 0 for e in node.edges):
                stale.append(name)
        if stale:
            made = set().union(*(by_name[name].together for name in stale))
            return Step(tuple(name for name in names if name in made), (day,))
    return None


@dataclass(frozen=True)
class SnapshotVerdicts:
    """What is to be said of as-of partitions, by asset.

    Attributes:
        changed: published, and something that they were made from holds other content since.
        missing: wanted and not published.
        settled: everything they read is published and will stay as it is.
    """

    changed: Mapping[str, set[date]]
    missing: Mapping[str, set[date]]
    settled: Mapping[str, set[date]]


def judge_snapshots(nodes: Sequence[Node], states: States, wanted: Mapping[date, Collection[str]]) -> SnapshotVerdicts:
    """Judge as-of partitions, those published and those wanted.

    What reads a partition that is stale itself, directly or through others, is not settled: that partition may come
    out with the content it had, and then nothing that follows has to be made.

    Args:
        nodes: all assets, in the order of the flow.
        states: published partitions.
        wanted: as-of day to assets that are to exist although they may not be published yet.
    """
    changed: dict[str, set[date]] = {}
    missing: dict[str, set[date]] = {}
    settled: dict[str, set[date]] = {}
    unsettled: dict[str, set[date]] = {}
    for node in nodes:
        published = states[node.name]
        days = set(published) | {day for day, names in wanted.items() if node.name in names}
        stale = {day for day in days if not node.is_raw and is_stale(node, day, states)}
        waiting = {day for day in days if _waits(node, day, unsettled)}
        unsettled[node.name] = stale | waiting
        if not node.by_event_day:
            changed[node.name] = stale & set(published)
            missing[node.name] = stale - set(published)
            settled[node.name] = {day for day in days - waiting if not _lacks_snapshot(node, day, nodes, states)}
    return SnapshotVerdicts(changed, missing, settled)


def _waits(node: Node, day: date, unsettled: Mapping[str, Collection[date]]) -> bool:
    return any(True for edge in node.edges for _ in _read_days(edge, day, unsettled.get(edge.parent, ())))


def _lacks_snapshot(node: Node, day: date, nodes: Sequence[Node], states: States) -> bool:
    snapshots = {other.name for other in nodes if not other.by_event_day}
    return any(
        day + timedelta(days=edge.first) not in states[edge.parent]
        for edge in node.edges
        if edge.parent in snapshots and not edge.optional
    )
