"""Rows in force are the rows of the latest versions, in whatever order files come, go, are renamed and loads die."""

import gzip
import json
import tempfile
from datetime import date
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.landing import INVENTORY, Inventory, land_files
from insight_assets.ingestion.raw import RawLoader, pending_days, raw_contract, rows_in_force
from insight_assets.lake import DailyFrames, Lake
from insight_assets_tests.deliveries import call

SEGMENT = source_contracts()["segment"]
OF = raw_contract(SEGMENT)
DAYS = [date(2025, 1, day) for day in (1, 2, 3)]
# Content to the days of its rows.
CONTENTS = {"k": (0, 1), "l": (1, 2), "m": (0,), "n": (2,)}
NAMES = st.sampled_from(["a.ndjson", "b.ndjson", "c.ndjson"])
OPERATIONS = st.one_of(
    st.tuples(st.just("deliver"), NAMES, st.sampled_from(sorted(CONTENTS))),
    st.tuples(st.just("deliver packed"), NAMES, st.sampled_from(sorted(CONTENTS))),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("spoil"), NAMES, st.none()),
    st.tuples(st.just("remove"), NAMES, st.none()),
    st.tuples(st.just("load"), st.none(), st.integers(0, 3)),
    st.tuples(st.just("lose the inventory"), st.none(), st.none()),
)


class Shop:
    """Landing folder and raw table, and beside them what is to be in force."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "landing" / "segment"
        self.folder.mkdir(parents=True)
        self.lake = Lake(root / "lake")
        self.latest: dict[str, str] = {}
        self.present: dict[str, str] = {}
        self.held: set[tuple[str, int]] = set()

    def look(self) -> Inventory:
        inventory = Inventory(self.folder.parent, shop_timezone="UTC", max_file_bytes=10**8)
        inventory.refresh(SEGMENT)
        return inventory

    def do(self, operation: str, name: str | None, what: str | int | None) -> None:
        getattr(self, "_" + operation.replace(" ", "_"))(name, what)
        self.look()

    def _deliver(self, name: str, content: str, *, pack: bool = False) -> None:
        calls = [call(f"{content}{day}", f"{DAYS[day]}T10:00:00Z") for day in CONTENTS[content]]
        data = "".join(json.dumps(each) + "\n" for each in calls).encode()
        with tempfile.TemporaryDirectory() as elsewhere:
            (Path(elsewhere) / name).write_bytes(gzip.compress(data) if pack else data)
            land_files([Path(elsewhere) / name], self.folder)
        self.present[name] = self.latest[name] = content

    def _deliver_packed(self, name: str, content: str) -> None:
        self._deliver(name, content, pack=True)

    def _rename(self, name: str, other: str) -> None:
        if name in self.present and name != other:
            (self.folder / name).replace(self.folder / other)
            self.present[other] = self.latest[other] = self.present.pop(name)

    def _spoil(self, name: str, _: None) -> None:
        (self.folder / name).write_text("no call\n")
        self.present.pop(name, None)

    def _remove(self, name: str, _: None) -> None:
        (self.folder / name).unlink(missing_ok=True)
        self.present.pop(name, None)

    def _load(self, _: None, most: int) -> None:
        """Load some of the days that are due, as a load that is killed does."""
        inventory = self.look()
        days = sorted(pending_days(inventory, self.lake, SEGMENT))[:most]
        if days:
            list(self.lake.write(OF, days, DailyFrames(RawLoader(SEGMENT, inventory, self.lake).rows_of)))
        loaded = {DAYS.index(day) for day in days}
        self.held |= {(c, day) for c in self.present.values() for day in CONTENTS[c] if day in loaded}

    def _lose_the_inventory(self, *_: None) -> None:
        # What is known of names that are gone is in raw alone then.
        if set(self.latest) == set(self.present):
            (self.folder.parent / INVENTORY).unlink(missing_ok=True)

    def expected(self) -> list[str]:
        return sorted(f"{c}{day}" for c in set(self.latest.values()) for day in CONTENTS[c] if (c, day) in self.held)


@settings(max_examples=25)
@given(st.lists(OPERATIONS, min_size=2, max_size=10))
def test_rows_in_force_are_those_of_the_latest_versions(operations):
    with tempfile.TemporaryDirectory() as root:
        shop = Shop(Path(root))
        for operation in operations:
            shop.do(*operation)
        shop.do("load", None, 9)
        assert pending_days(shop.look(), shop.lake, SEGMENT) == {}
        rows = shop.lake.scan(OF)
        assert sorted(rows_in_force(rows).collect()["identity"]) == shop.expected()
        # Whatever happened, no row stands in raw twice.
        assert rows.collect().select("file_hash", "line").is_duplicated().sum() == 0
