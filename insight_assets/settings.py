"""Everything that differs between shops, read once from the environment and the home folder.

This is the only module that reads the environment. Functions that compute take plain arguments; assets and commands
read `settings()` and pass the values on. Nothing here touches data.
"""

import os
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from insight_assets.whole_files import write_whole

HOME_VARIABLE = "INSIGHT_HOME"
DEFAULT_HOME = "insight_home"
HOME_SETTINGS_FILE = "insight.env"
ENCODER_BATCH = 2_048


class Settings(BaseSettings):
    """Settings of one shop: environment variables `INSIGHT_*`, then `<home>/insight.env`, then the defaults."""

    model_config = SettingsConfigDict(env_prefix="INSIGHT_", extra="ignore")

    home: Path = Field(default=Path(DEFAULT_HOME), description="Folder that holds everything the project writes")
    start_date: date = Field(default=date(2025, 1, 1), description="First event day; the first partition")
    end_date: date | None = Field(default=None, description="Last event day of a closed history; empty while data comes in")
    timezone: str = Field(default="UTC", description="The shop's time zone (IANA name); event days are days there")
    sources: Path | None = Field(default=None, description="Folder with the shop's own source contracts")
    late_days: int = Field(
        default=7, ge=0, description="Days after which an event comes too late; a source contract may say more or less"
    )
    duplicate_days: int = Field(default=30, ge=0, le=365, description="Days back over which a row is known as a repeat")
    traffic: Path | None = Field(default=None, description="File with the shop's own rules for robots and internal traffic")
    horizon_days: int = Field(default=90, ge=1, le=730, description="Label window of churn, value and recommendation")
    min_history_days: int = Field(default=14, ge=1, description="History an origin needs before it is trained on")
    reject_budgets: dict[str, float] = Field(
        default_factory=dict, description="Share of a day's rows of a source that may be quarantined, over the contract's"
    )
    max_file_bytes: int = Field(default=4_000_000_000, ge=1, description="Decompressed size above which a file is refused")
    max_ratio: int = Field(
        default=200, ge=1, description="Decompressed bytes for one delivered byte above which a large file is refused"
    )
    max_rows: int = Field(default=50_000_000, ge=1, description="Lines of a file above which it is refused")
    max_columns: int = Field(default=2_000, ge=1, description="Columns of a file above which it is refused")
    max_line_bytes: int = Field(default=1_000_000, ge=1, description="Bytes of a line above which it is quarantined")
    settle_seconds: float = Field(
        default=5, ge=0, description="How long a file without a sidecar must have lain untouched before it is read"
    )
    base_currency: str = Field(
        default="", pattern="^([A-Z]{3})?$",
        description="Currency the shop counts in (ISO 4217); empty: the most frequent one of the first landed file",
    )
    rate_max_age_days: int = Field(
        default=7, ge=0, le=366, description="Days for which an exchange rate stays in force after its own"
    )
    refunded_orders_count: bool = Field(
        default=True,
        description="Whether an order that was given back whole still counts as a purchase; its money never does",
    )
    repeat_recommendations: bool = Field(
        default=False, description="Whether products that a customer already bought may be recommended"
    )
    k_anonymity: int = Field(default=10, ge=1, description="Smallest group of customers that a summary shows")
    migration_days: int = Field(
        default=30, ge=1, le=730, description="Days back from an as-of day to the one that holds the previous segments"
    )
    seed: int = Field(default=20250101, ge=0, description="Seed of everything random in training and grading")
    max_epochs: int = Field(default=12, ge=1, description="Upper bound on passes over the training data of a network")
    encoder_size: Literal["XS", "S", "M", "L"] = Field(
        default="XS", description="Size of the behaviour encoder; the larger ones are for a GPU"
    )
    encoder_events: int = Field(
        default=500_000, ge=1, description="Events that the behaviour encoder reads at most in one pass while it learns"
    )
    encoder_batch: int = Field(
        default=ENCODER_BATCH, ge=1,
        description="Events of a training batch of the behaviour encoder; fewer need less memory",
    )
    lightgbm: bool = Field(
        default=False, description="Whether LightGBM is a churn rival too. Needs `insight-assets[gbm]`"
    )
    known_by: AwareDatetime | None = Field(
        default=None, description="Count only rows known by this moment; empty counts all. Set by `insight as-known`"
    )
    identity_kinds: dict[str, date | None] = Field(
        default_factory=dict,
        description="Kind of identity link to the first day on which it makes one person of identifiers; null: never",
    )
    customers_per_device: int = Field(
        default=1, ge=1, description="Most signed-in customers of a device that is not shared"
    )
    customers_per_contact: int = Field(
        default=2, ge=1, description="Most customers of an e-mail address or telephone number that are one person"
    )
    identifiers_per_person: int = Field(default=200, ge=2, description="Most identifiers that one person may have")
    contact_reuse_days: int = Field(
        default=180, ge=1, description="Pause in days after which an address or number may have gone to somebody else"
    )
    probable_links: float = Field(
        default=0, ge=0, le=1,
        description="Least probability at which customers who are described alike are one person; 0: never. Needs "
        "`insight-assets[linkage]`",
    )
    consent_without_record: dict[Literal["analytics", "personalise", "marketing"], bool] = Field(
        default_factory=dict,
        description="Whether people who never said anything about a purpose are taken to agree; by default to "
        "analytics and personalise, not to marketing",
    )
    drift_relearn_from: dict[str, date] = Field(
        default_factory=dict, description="Table to the first day of a change that is to stay; drift is learned anew"
    )
    drift_blocks: bool = Field(
        default=False, description="Whether a drift of severity ERROR stops what the run would make of the tables"
    )
    key_path: Path | None = Field(default=None, description="File of the pseudonym key; by default secrets/ in home")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, OSError):
            message = f"unknown time zone {value!r}; write an IANA name, e.g. Asia/Shanghai"
            raise ValueError(message) from None
        return value

    @field_validator("reject_budgets")
    @classmethod
    def _shares(cls, value: dict[str, float]) -> dict[str, float]:
        for source, share in value.items():
            if not 0 <= share <= 1:
                message = f"the budget of {source} is {share}; write a share from 0 to 1, e.g. 0.05"
                raise ValueError(message)
        return value

    @field_validator("home", "sources", "traffic", "key_path")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.timezone)

    @cached_property
    def origin_spacing_days(self) -> int:
        """Days between two training origins: about a third of the horizon, in whole weeks."""
        return max(7, self.horizon_days // 3 // 7 * 7)

    @property
    def landing(self) -> Path:
        """Folder where files arrive, one subfolder a source."""
        return self.home / "landing"

    @property
    def lake(self) -> Path:
        """Folder of the Delta tables, one subfolder a table."""
        return self.home / "lake"

    @property
    def models(self) -> Path:
        """Folder of the trained models, one subfolder a model and as-of day."""
        return self.home / "models"

    @property
    def data_docs(self) -> Path:
        """Folder of Great Expectations' pages."""
        return self.home / "data_docs"

    @property
    def dagster_home(self) -> Path:
        """Folder of the Dagster instance."""
        return self.home / "dagster"

    @property
    def truth(self) -> Path:
        """Folder of the simulator's hidden truth; never read by an asset."""
        return self.home / "truth"

    @property
    def key_file(self) -> Path:
        """File of the home's keys."""
        return self.key_path or self.home / "secrets" / "pseudonym.key"

    def remember(self, **values: object) -> None:
        """Write values to the home's settings file, keeping its other lines.

        Args:
            **values: field name to value; None removes the line.
        """
        path = self.home / HOME_SETTINGS_FILE
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        names = {f"INSIGHT_{name.upper()}": value for name, value in values.items()}
        kept = [line for line in lines if line.split("=", 1)[0].strip() not in names]
        kept += [f"{name}={value}" for name, value in names.items() if value is not None]
        write_whole(path, "\n".join(kept) + "\n")


def settings() -> Settings:
    """Read the settings that hold now."""
    home = Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().absolute()
    return Settings(_env_file=home / HOME_SETTINGS_FILE, home=home)


def choose_home(home: Path) -> Settings:
    """Make `home` the home of this process and of the processes it starts.

    Args:
        home: folder, created when it does not exist yet.
    """
    os.environ[HOME_VARIABLE] = str(home.expanduser().absolute())
    os.environ["DAGSTER_HOME"] = str(settings().dagster_home)
    return settings()
