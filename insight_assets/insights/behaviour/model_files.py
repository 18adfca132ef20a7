"""A taught encoder as files: safetensors, JSON and plain `.npy` arrays, nothing that runs code when it is opened.

A model holds products, never a customer. Imports torch at module level: import it only inside functions.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from insight_assets.insights.behaviour.product_vectors import CONFIG, PRODUCTS, QUESTION
from insight_assets.insights.behaviour.teaching import Behaviour, vectors_of_products
from insight_assets.ml.behaviour.encoder import EncoderSettings
from insight_assets.ml.behaviour.learning import LearningSettings
from insight_assets.ml.behaviour.pretraining import PretrainedEncoder, Taught, question_vector
from insight_assets.ml.behaviour.tokens import Vocabulary
from insight_assets.ml.training import Epoch, read_weights, write_weights

WEIGHTS = "encoder.safetensors"


def save(behaviour: Behaviour, directory: Path) -> None:
    """Write a taught encoder into an empty folder."""
    write_weights(behaviour.network, directory / WEIGHTS)
    config = {
        "vocabulary": behaviour.vocabulary.to_json(),
        "settings": asdict(behaviour.settings),
        "learning": asdict(behaviour.learning),
        "taught": {
            "epochs": [[epoch.number, epoch.training_loss, epoch.validation_loss] for epoch in behaviour.taught.epochs],
            "passes_over_all": behaviour.taught.passes_over_all,
            "left": dict(behaviour.taught.left),
        },
        "customers": behaviour.customers,
        "events": behaviour.events,
    }
    (directory / CONFIG).write_text(json.dumps(config, ensure_ascii=False, indent=1), encoding="utf-8")
    np.save(directory / PRODUCTS, vectors_of_products(behaviour), allow_pickle=False)
    np.save(directory / QUESTION, question_vector(behaviour.network), allow_pickle=False)


def load(directory: Path) -> Behaviour:
    """Read a taught encoder.

    Raises:
        safetensors.SafetensorError: If the weights are no safetensors file.
        RuntimeError: If they do not fit the settings.
    """
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    vocabulary = Vocabulary.from_json(config["vocabulary"])
    settings, learning = EncoderSettings(**config["settings"]), LearningSettings(**config["learning"])
    network = PretrainedEncoder(
        settings,
        {name: torch.from_numpy(of) for name, of in vocabulary.traits_of_codes().items()},
        sharpness=learning.sharpness,
        negatives=learning.negatives,
    )
    told = config["taught"]
    taught = Taught([Epoch(*values) for values in told["epochs"]], told["passes_over_all"], told["left"])
    network = read_weights(network, directory / WEIGHTS)
    return Behaviour(vocabulary, settings, learning, network, taught, config["customers"], config["events"])
