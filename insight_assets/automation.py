"""When assets run by themselves: named conditions, each with the incident that it prevents.

What a sensor looks at is in the stage that owns it.
"""

import dagster as dg

ON_NEW_DATA = (
    dg.AutomationCondition.eager().without(dg.AutomationCondition.in_latest_time_window()).with_label("on_new_data")
)
"""Late days too: plain `eager` looks at the newest day only, so rows delivered for an old day never reached the features."""

AUTOMATION = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.tag("layer", "validated") | dg.AssetSelection.tag("layer", "feature"),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
)
