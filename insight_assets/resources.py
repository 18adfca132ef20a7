"""Resources of the code location: where things lie, handed to assets by Dagster.

Configuration and thin access only; what is done with a folder is in the module of the stage that does it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg

from insight_assets.ingestion.landing import Inventory
from insight_assets.ingestion.readers import Limits
from insight_assets.lake import Lake
from insight_assets.ml.model_store import Manifest, open_model, write_model
from insight_assets.validation.key_ring import ANALYTICS, KeyRing, read_ring
from insight_assets.validation.pseudonyms import pseudonymiser
from insight_assets.validation.suppression import SuppressionList, list_beside, read_suppressed


class LakeFolder(dg.ConfigurableResource):
    """The lake, for assets that write several tables in one pass.

    Attributes:
        root: folder of the lake.
    """

    root: str

    def open(self) -> Lake:
        """Give the lake."""
        return Lake(Path(self.root))


class DataDocsFolder(dg.ConfigurableResource):
    """Where the pages of Great Expectations lie.

    Attributes:
        root: folder of the pages.
    """

    root: str


class ModelStore(dg.ConfigurableResource):
    """Model directories by name and as-of day.

    Attributes:
        root: folder of the models.
    """

    root: str

    def place(self, name: str, as_of: date) -> Path:
        """Place of one model."""
        return Path(self.root) / name / as_of.isoformat()

    def work_folder(self, name: str, as_of: date) -> Path:
        """Folder for checkpoints of an unfinished training; survives a kill."""
        path = Path(self.root) / ".work" / name / as_of.isoformat()
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def writing(self, name: str, as_of: date) -> Iterator["Writing"]:
        """Give a folder to write a model into; it takes its place whole when the block ends without an error."""
        place = self.place(name, as_of)
        with write_model(place) as directory:
            result = Writing(directory)
            yield result
        result.manifest = open_model(place)[1]

    def reading(self, name: str, as_of: date) -> Path:
        """Give the folder of a model whose files match their recorded hashes.

        Raises:
            ModelMissing: if there is no such model.
            ModelDamaged: if a file differs from what was written.
        """
        return open_model(self.place(name, as_of))[0]

    def version(self, name: str, as_of: date) -> str:
        """Give the first 12 digits of a model's content hash, which scores carry as their model version."""
        return open_model(self.place(name, as_of))[1].content_hash[:12]


class Writing:
    """A model being written.

    Attributes:
        directory: where its files go.
        manifest: set once the block has ended.
    """

    manifest: Manifest

    def __init__(self, directory: Path) -> None:
        """Start with the folder."""
        self.directory = directory


class LandingFolder(dg.ConfigurableResource):
    """The landing folder and what decides how its files are read.

    Attributes:
        root: folder with one subfolder a source.
        timezone: the shop's time zone.
        max_file_bytes: decompressed size above which a file is refused.
        first_day: first day of the shop's history, ISO; empty to file every row under its own day.
        max_ratio: decompressed bytes for one delivered byte above which a large file is refused.
        max_rows: lines of a file above which it is refused.
        max_columns: columns of a file above which it is refused.
        max_line_bytes: bytes of a line above which it is quarantined.
        settle_seconds: how long a file without a sidecar must have lain untouched before it is read.
    """

    root: str
    timezone: str
    max_file_bytes: int
    first_day: str = ""
    max_ratio: int = Limits.ratio
    max_rows: int = Limits.rows
    max_columns: int = Limits.columns
    max_line_bytes: int = Limits.line_bytes
    settle_seconds: float = 0

    def open(self) -> Inventory:
        """Give the inventory of the folder."""
        return Inventory(
            Path(self.root),
            shop_timezone=self.timezone,
            max_file_bytes=self.max_file_bytes,
            first_day=date.fromisoformat(self.first_day) if self.first_day else None,
            limits=Limits(self.max_ratio, self.max_rows, self.max_columns, self.max_line_bytes),
            settle_seconds=self.settle_seconds,
        )


class PseudonymKey(dg.ConfigurableResource):
    """Where the keys of the home lie.

    Attributes:
        path: file created with mode 0600 on first use.
    """

    path: str

    def exists(self) -> bool:
        """Whether the keys were made."""
        return Path(self.path).exists()

    def ring(self) -> KeyRing:
        """Give the keys."""
        return read_ring(Path(self.path))

    def pseudonym(self, purpose: str = ANALYTICS) -> Callable[[str, str], int]:
        """Give the function from an identifier to its pseudonym for a purpose."""
        return pseudonymiser(self.ring().current(purpose).secret)

    def suppressed(self) -> SuppressionList:
        """Give the list of people whose rows are left out, which lies beside the keys."""
        return read_suppressed(list_beside(Path(self.path)))
