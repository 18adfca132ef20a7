"""The taught encoder as one ONNX file, for processes that read customers without torch.

Holds the network as such a process asks it, and the writing of the file; reading it belongs to `serving`. Imports torch
at module level: import it only inside functions.
"""

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from insight_assets.ml.behaviour.encoder import TRANSFORMER, PackedLayout
from insight_assets.ml.behaviour.pretraining import NEXT_ORDER, PretrainedEncoder
from insight_assets.ml.behaviour.serving import CHANCES, LENGTHS, SINCE, VECTORS, WITHIN
from insight_assets.ml.training import one_thread

PACKAGES = ("onnx", "onnxscript")
OPSET = 20
"""Operators of ONNX 1.15, of the year 2023, which runtimes of other makers know as well."""

MOST_BYTES = 2**31 - 2**24
"""Bytes of weights that fit in a file, whose format ends at 2 GiB, with room for the graph."""


class ExportNotInstalledError(RuntimeError):
    """A package that writes ONNX files is not installed."""


@dataclass(frozen=True)
class PaddedLayout(PackedLayout):
    """One rectangle in which padding counts as tokens; it stands at the end, where no token looks."""

    def rectangles(self, packed: torch.Tensor) -> list[torch.Tensor]:
        """Lay values of shape (rows * steps, width) out as the rectangle."""
        rows, steps = self.shapes[0]
        return [packed.view(rows, steps, packed.shape[-1])]

    def packed(self, rectangles: list[torch.Tensor]) -> torch.Tensor:
        """Give the places of the rectangle row by row, shape (rows * steps, width)."""
        return rectangles[0].flatten(0, 1)


class ServedNetwork(nn.Module):
    """A taught encoder as a serving process asks it: customers in a rectangle, their vectors and chances."""

    def __init__(self, network: PretrainedEncoder, task: str = NEXT_ORDER) -> None:
        """Take what was taught.

        Args:
            network: The encoder and its heads.
            task: One of `pretraining.TIME_TASKS`.
        """
        super().__init__()
        self.encoder, self.hazard = network.encoder, network.hazards[task]

    def forward(
        self, fields: Mapping[str, torch.Tensor], lengths: torch.Tensor, since: torch.Tensor, within: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read customers.

        Args:
            fields: Field to codes, each of shape (customers, steps), int64; what stands after a customer's last token
                does not matter, as long as it is a code.
            lengths: Tokens of each customer, shape (customers,), int64, from 1 to steps.
            since: Days since the last token, shape (customers,), float32.
            within: Days to come, shape (horizons,), float32.

        Returns:
            The hidden vectors after the last tokens, shape (customers, width), and the chances, shape
            (customers, horizons).
        """
        rows, steps = next(iter(fields.values())).shape
        from_end = (lengths[:, None] - 1 - torch.arange(steps, device=lengths.device)).clamp(min=0)
        layout = PaddedLayout(from_end.flatten(), ((rows, steps),), ())
        hidden = self.encoder({name: codes.flatten() for name, codes in fields.items()}, layout)
        last = (lengths - 1)[:, None, None].expand(rows, 1, hidden.shape[-1])
        vectors = hidden.view(rows, steps, hidden.shape[-1]).gather(1, last)[:, 0]
        odds = self.hazard(vectors)
        horizons = within.shape[0]
        chances = self.hazard.chance(
            odds[:, None].expand(rows, horizons, odds.shape[-1]).flatten(0, 1),
            since[:, None].expand(rows, horizons).flatten(),
            within[None].expand(rows, horizons).flatten(),
        )
        return vectors, chances.view(rows, horizons)


def write_onnx(network: PretrainedEncoder, path: Path) -> None:
    """Write a taught encoder as an ONNX file, with any number of customers, steps and horizons.

    The same weights give the same bytes, whoever writes them and wherever: the exporter's notes on the code that made
    each operator are left out.

    Args:
        network: In evaluation mode, on the CPU; of transformer blocks.
        path: File to write.

    Raises:
        ExportNotInstalledError: If `onnx` or `onnxscript` is not installed.
        ValueError: If the weights are too large for one file, or the blocks are of another kind.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        message = f"{' and '.join(missing)} not installed. Next: pip install 'insight-assets[serving]'"
        raise ExportNotInstalledError(message)
    settings = network.encoder.settings
    if settings.blocks != TRANSFORMER:
        message = f"blocks of the kind {settings.blocks!r} are not exported, only {TRANSFORMER!r}"
        raise ValueError(message)
    served = ServedNetwork(network).eval()
    size = sum(of.nbytes for of in (*served.parameters(), *served.buffers()))
    if size > MOST_BYTES:
        message = f"{size:,} bytes of weights do not fit in an ONNX file, which holds {MOST_BYTES:,}"
        raise ValueError(message)
    customers, steps, horizons = (torch.export.Dim(name) for name in ("customers", "steps", "horizons"))
    names = [name for name in settings.fields if name not in network.encoder.traits]
    # Sizes are examples; none is 1, which the exporter would take for a size that never changes.
    example = (
        {name: torch.ones(2, 3, dtype=torch.int64) for name in names},
        torch.tensor([2, 3]), torch.zeros(2), torch.tensor([7.0, 30.0]),
    )  # fmt: skip
    with one_thread(), torch.no_grad(), _quiet_exporter():
        program = torch.onnx.export(
            served, example, dynamo=True, opset_version=OPSET, verbose=False,
            dynamic_shapes=(
                {name: {0: customers, 1: steps} for name in names}, {0: customers}, {0: customers}, {0: horizons},
            ),
            input_names=[*names, LENGTHS, SINCE, WITHIN], output_names=[VECTORS, CHANCES],
        )  # fmt: skip
    proto = program.model_proto
    _leave_notes_out(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's talk of its own parts, and of packages for pictures, from who exports."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _leave_notes_out(proto: object) -> None:
    graph = proto.graph
    of_graph = (graph.node, graph.initializer, graph.value_info, graph.input, graph.output)
    for part in (proto, graph, *(each for of in of_graph for each in of)):
        del part.metadata_props[:]
        part.doc_string = ""
