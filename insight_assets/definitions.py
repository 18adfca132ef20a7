"""Table of contents: every group of assets in the order in which data flows through them."""

from collections.abc import Mapping
from types import ModuleType

import dagster as dg

from insight_assets.automation import automated, automation_sensor
from insight_assets.contracts.traffic import traffic_rules
from insight_assets.features import assets as features
from insight_assets.ingestion import assets as ingestion
from insight_assets.ingestion import sensors as ingestion_sensors
from insight_assets.insights.associations import assets as associations
from insight_assets.insights.behaviour import assets as behaviour
from insight_assets.insights.churn import assets as churn
from insight_assets.insights.intent import assets as intent
from insight_assets.insights.ledger import assets as ledger
from insight_assets.insights.lifetime_value import assets as lifetime_value
from insight_assets.insights.propensity import assets as propensity
from insight_assets.insights.recommendation import assets as recommendation
from insight_assets.insights.segmentation import assets as segmentation
from insight_assets.io_managers import LakeIOManager
from insight_assets.monitoring import assets as monitoring
from insight_assets.monitoring import checks as monitoring_checks
from insight_assets.people import assets as people
from insight_assets.profiles import assets as profiles
from insight_assets.profiles import checks as profile_checks
from insight_assets.purposes import CONSENTED_PURPOSES
from insight_assets.resources import DataDocsFolder, LakeFolder, LandingFolder, ModelStore, PseudonymKey
from insight_assets.settings import ENCODER_BATCH, Settings, settings
from insight_assets.validation import assets as validation
from insight_assets.validation.key_ring import ANALYTICS, VAULT, current_number
from insight_assets.validation.suppression import list_beside, read_suppressed
from insight_assets.validation.vault import IDENTITY_VAULT

GROUPS: Mapping[str, ModuleType] = {
    "validated": validation,
    "people": people,
    "features": features,
    "segmentation": segmentation,
    "behaviour": behaviour,
    "churn": churn,
    "intent": intent,
    "lifetime_value": lifetime_value,
    "recommendation": recommendation,
    "propensity": propensity,
    "associations": associations,
    "ledger": ledger,
    "profiles": profiles,
    "monitoring": monitoring,
}

COUNTING_PURCHASES = frozenset(
    {
        "customer_features", "customer_labels", "churn_examples", "intent_examples", "propensity_models",
        "cohort_retention", "purchase_7d_grades", "purchase_30d_grades", "churn_30d_grades", "churn_60d_grades",
        "value_90d_grades", "value_365d_grades",
    }
)  # fmt: skip
HIDING_SMALL_GROUPS = frozenset(
    {
        "segment_transitions", "cohort_retention", "customer_clusters", "cluster_descriptions", "churn_slices",
        "product_associations", "ledger_grades", "purchase_7d_grades", "purchase_30d_grades", "session_intent_grades",
        "churn_30d_grades", "churn_60d_grades", "value_90d_grades", "value_365d_grades", "segment_summary",
        # Their cards lie among their files.
        behaviour.MODELS, churn.MODELS, intent.MODELS, intent.VISIT_MODELS, lifetime_value.MODELS, propensity.MODELS,
        recommendation.MODELS,
    }
)  # fmt: skip
LEARNING = frozenset(
    {"segmentation", "behaviour", "churn", "intent", "lifetime_value", "recommendation", "propensity", "ledger"}
)

# A launched run has a process of its own already. Steps forked from one that has imported this module would wait for
# ever: loading contracts starts Polars' threads, and a forked process has none of them.
EXECUTOR = dg.in_process_executor


def configured(shop: Settings) -> dict[str, object]:
    """Give the resources that follow from the settings."""
    return {
        "lake": LakeIOManager(
            root=str(shop.lake), consent_without_record=shop.consent_without_record, smallest_group=shop.k_anonymity
        ),
        "tables": LakeFolder(root=str(shop.lake)),
        "docs": DataDocsFolder(root=str(shop.data_docs)),
        "models": ModelStore(root=str(shop.models)),
        "landing": LandingFolder(
            root=str(shop.landing), timezone=shop.timezone, max_file_bytes=shop.max_file_bytes, max_ratio=shop.max_ratio,
            max_rows=shop.max_rows, max_columns=shop.max_columns, max_line_bytes=shop.max_line_bytes,
            settle_seconds=shop.settle_seconds,
        ),
        "key": PseudonymKey(path=str(shop.key_file)),
    }


def build_defs(
    resources: Mapping[str, object] | None = None, loggers: Mapping[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """Assemble the code location.

    Args:
        resources: resources that replace the configured ones of the same name.
        loggers: loggers that replace Dagster's console.
    """
    shop = settings()
    assets = [
        automated(monitoring.documented(versioned(asset, shop), shop.data_docs))
        for group, module in GROUPS.items()
        for asset in dg.load_assets_from_modules([module], group_name=group)
    ]
    raw = dg.load_assets_from_modules([ingestion], group_name="raw")
    return dg.Definitions(
        assets=[*ingestion.landing_specs, *raw, *assets],
        asset_checks=dg.load_asset_checks_from_modules(
            [churn, intent, lifetime_value, recommendation, associations, profile_checks, monitoring_checks]
        ),
        jobs=ledger.jobs,
        sensors=[*ingestion_sensors.sensors, automation_sensor],
        resources={**configured(shop), **(resources or {})},
        executor=EXECUTOR,
        loggers=loggers,
    )


def versioned(asset: dg.AssetsDefinition, shop: Settings) -> dg.AssetsDefinition:
    """Let partitions be stale when the settings, keys or suppressed people that shape them change.

    Args:
        asset: one asset, or several made together.
        shop: the settings.
    """

    def with_settings(spec: dg.AssetSpec) -> dg.AssetSpec:
        version = spec.code_version
        if spec.group_name in LEARNING or spec.key.to_user_string() == "customer_labels":
            version = f"{version}-{shaped}"
        if spec.key.to_user_string() in {churn.MODELS, intent.MODELS, intent.VISIT_MODELS} and shop.lightgbm:
            version = f"{version}-gbm"
        if spec.key.to_user_string() in segmentation.COMPARING:
            version = f"{version}-m{shop.migration_days}"
        if spec.key.to_user_string() in HIDING_SMALL_GROUPS:
            version = f"{version}-k{shop.k_anonymity}"
        if spec.key.to_user_string() in validation.PUBLISHED:
            version = f"{version}-{judged}"
        if spec.key.to_user_string() == IDENTITY_VAULT:
            version = f"{version}-v{current_number(shop.key_file, VAULT)}"
        if spec.group_name == "people" or spec.tags.get("purpose") in CONSENTED_PURPOSES:
            version = f"{version}-{rules}"
        if spec.group_name == "behaviour":
            version = f"{version}-{shop.encoder_size}.{shop.encoder_events}"
            version += f".{shop.encoder_batch}" if shop.encoder_batch != ENCODER_BATCH else ""
        if (agreed := shop.consent_without_record.get(spec.tags.get("purpose"))) is not None:
            version = f"{version}-{'silence_is_consent' if agreed else 'silence_is_refusal'}"
        if spec.key.to_user_string() in COUNTING_PURCHASES and not shop.refunded_orders_count:
            version = f"{version}-without-void-orders"
        return spec.replace_attributes(code_version=f"{version}-{people}")

    shaped = (
        f"h{shop.horizon_days}-n{shop.min_history_days}-s{shop.seed}-e{shop.max_epochs}"
        f"-r{int(shop.repeat_recommendations)}"
    )
    judged = f"c{shop.base_currency}-l{shop.late_days}-d{shop.duplicate_days}-t{traffic_rules(shop.traffic).digest}"
    people = people_version(shop)

    kinds = "".join(f"-{kind}.{since}" for kind, since in sorted(shop.identity_kinds.items()))
    rules = (
        f"d{shop.customers_per_device}-c{shop.customers_per_contact}-n{shop.identifiers_per_person}"
        f"-p{shop.contact_reuse_days}{kinds}" + (f"-m{shop.probable_links}" if shop.probable_links else "")
    )
    return asset.map_asset_specs(with_settings)


def people_version(shop: Settings) -> str:
    """Name the key that makes the pseudonyms and the list of people left out; every code version below raw ends so."""
    suppressed = read_suppressed(list_beside(shop.key_file)).digest
    return f"k{current_number(shop.key_file, ANALYTICS)}" + (f".{suppressed}" if suppressed else "")


@dg.definitions
def defs() -> dg.Definitions:
    """Give the code location to Dagster."""
    return build_defs()
