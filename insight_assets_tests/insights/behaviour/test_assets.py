"""The encoder's asset, run by Dagster: how far training is can be seen while it goes on, and is no materialization."""

import dagster as dg
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.behaviour import assets
from insight_assets.insights.behaviour.assets import MODELS
from insight_assets.ml import training
from insight_assets.partitions import DAYS
from insight_assets.resources import ModelStore
from insight_assets_tests.insights.behaviour.test_teaching import AS_OF, sequences

KEY = dg.AssetKey(MODELS)


class Frames(dg.IOManager):
    """Event sequences of a few customers; every other table is empty."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        raise NotImplementedError

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        name = context.asset_key.path[-1]
        if name == "event_sequences":
            return sequences(30).with_columns(as_of=pl.lit(AS_OF)).lazy()
        return contract(name).empty().lazy()


def run(instance: dg.DagsterInstance, folder, *, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
    names = ("event_sequences", "order_lines", "products", "identities", "consents")
    inputs = [dg.AssetSpec(name, partitions_def=DAYS).with_io_manager_key("lake") for name in names]
    return dg.materialize(
        [assets.behaviour_encoder, *inputs], partition_key=AS_OF.isoformat(), selection=[MODELS], instance=instance,
        resources={"lake": Frames(), "models": ModelStore(root=str(folder)), "io_manager": Frames()},
        raise_on_error=raise_on_error,
    )  # fmt: skip


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_progress_is_observed_while_the_encoder_learns(instance, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0)
    seen, real = [], training.ProgressReports.on_train_batch_end

    def looked_at(*arguments):
        real(*arguments)
        seen.append(len(instance.fetch_observations(KEY, limit=1_000).records))

    monkeypatch.setattr(training.ProgressReports, "on_train_batch_end", looked_at)
    run(instance, tmp_path)
    records = instance.fetch_observations(KEY, limit=1_000).records
    # Each is stored before the next batch, not when the step ends.
    assert seen == list(range(1, len(records) + 1))
    observed = [record.asset_observation for record in reversed(records)]
    assert {each.partition for each in observed} == {AS_OF.isoformat()}
    first, last = ({name: of.value for name, of in each.metadata.items()} for each in (observed[0], observed[-1]))
    assert set(first) == {"passes", "most_passes", "events_per_second", "seconds_left_at_most", "loss", "part"}
    # All events lie within the horizon before the as-of day, so that there is no window to stop by.
    assert first["part"] == last["part"] == "over everything"
    assert (last["passes"], last["seconds_left_at_most"]) == (last["most_passes"], 0)
    # The version is that of what was made, however much was seen of its making.
    made = instance.get_latest_materialization_event(KEY).asset_materialization
    assert instance.get_latest_data_version_record(KEY).asset_materialization == made


def test_a_training_that_was_seen_and_failed_has_made_nothing(instance, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0)
    real = training.ProgressReports.on_train_batch_end

    def failing(*arguments):
        real(*arguments)
        raise training.TrainingDivergedError

    monkeypatch.setattr(training.ProgressReports, "on_train_batch_end", failing)
    assert not run(instance, tmp_path, raise_on_error=False).success
    assert len(instance.fetch_observations(KEY, limit=10).records) == 1
    assert instance.get_materialized_partitions(KEY) == set()
    assert instance.get_latest_data_version_record(KEY, is_source=False) is None


def test_a_short_training_is_not_observed(instance, tmp_path):
    run(instance, tmp_path)
    assert instance.fetch_observations(KEY, limit=10).records == []
    assert instance.get_materialized_partitions(KEY) == {AS_OF.isoformat()}
