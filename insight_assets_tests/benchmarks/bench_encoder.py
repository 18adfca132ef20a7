"""How fast the behaviour encoder learns and reads, packed and, as the same network on the same customers, padded.

    python -m insight_assets_tests.benchmarks.bench_encoder DATA/amazon_sequences/s3rec/Beauty.txt.gz --size XS

Not a test. Both ways learn from the same sequences by the same code; padded, every sequence is filled up in front to
the longest that is read, as most public code has it. Printed for each: events (tokens with a product after them) a second,
the share of tokens that only pad, where the time of a step goes, and the share of the device's peak, measured by a
product of large matrices, that the work on events makes up. Then customers read a second, and peak memory. Seconds are
CPU seconds on a CPU, which other processes do not change, and wall seconds on a GPU. How good the encoder is says
`bench_recommendation beauty FILE --encoder XS`.
"""

import argparse
import gzip
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from insight_assets.ml.behaviour.encoder import SIZES, BehaviourEncoder, EncoderSettings
from insight_assets.ml.behaviour.learning import PackedBatches
from insight_assets.ml.behaviour.next_product import (
    TARGETS,
    LearningSettings,
    next_product_loss,
    next_products,
    read_customers,
)
from insight_assets.ml.behaviour.packing import TokenBudget
from insight_assets.ml.behaviour.tokens import ITEM, Tokens, tokens_of
from insight_assets.ml.training import Learning
from insight_assets_tests.benchmarks.memory import peak_megabytes

PEAK_SIDE = 2048


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="lines of a customer and products, gzipped")
    parser.add_argument("--size", choices=list(SIZES), default="XS")
    parser.add_argument("--positions", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=0, help="most steps of each way; 0 for an epoch")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens, products = _read(arguments.file)
    settings = EncoderSettings(
        fields={ITEM: products + 1}, dropout=0.3, positions=arguments.positions, **SIZES[arguments.size]
    )
    peak = _peak(device)
    print(f"{device}, {arguments.threads} threads, peak {peak / 1e9:,.1f} GFLOPS; {len(tokens.lengths):,} customers")
    packed = next_products(tokens, settings.positions)
    speeds = {}
    # As many customers a step as fit the budget unpadded: padded, a step of the same learning is so much larger.
    larger = round(arguments.tokens * settings.positions / packed.lengths.mean())
    for name, batches, budget in (
        ("packed", packed, arguments.tokens), ("padded", _padded(packed, settings.positions), larger),
    ):  # fmt: skip
        speeds[name] = _epoch(name, batches, settings, device, peak, budget=budget, steps=arguments.steps)
    print(f"packed learns from {speeds['packed'] / speeds['padded']:.1f} times as many events a second")
    encoder = BehaviourEncoder(settings).eval()
    read_customers(encoder, tokens.take(np.arange(1000)))
    seconds, _ = _timed(lambda: read_customers(encoder, tokens), device)
    print(f"read {len(tokens.lengths) / seconds:,.0f} customers a second; peak memory {peak_megabytes():,.0f} MB")


def _read(file: Path) -> tuple[Tokens, int]:
    with gzip.open(file, "rt") as stream:
        lines = [line.split()[1:] for line in stream]
    code = {product: number for number, product in enumerate(sorted({p for line in lines for p in line}), start=1)}
    return tokens_of([np.array([code[product] for product in line]) for line in lines]).without_last(2), len(code)


def _padded(batches: PackedBatches, steps: int) -> PackedBatches:
    """The same sequences, each filled up in front with tokens of nothing that are asked for nothing."""
    rows = len(batches)
    tokens, targets = (np.zeros((rows, steps), dtype=np.int64) for _ in range(2))
    place = np.arange(steps) >= (steps - batches.lengths)[:, None]
    tokens[place], targets[place] = batches._tokens.fields[ITEM], batches.targets[TARGETS]
    offsets = np.arange(rows + 1) * steps
    return PackedBatches(Tokens(offsets, {ITEM: tokens.ravel()}), {TARGETS: targets.ravel()})


def _epoch(
    name: str, batches: PackedBatches, settings: EncoderSettings, device: torch.device, peak: float, *, budget: int,
    steps: int,
) -> float:  # fmt: skip
    learning = replace(LearningSettings(), tokens=budget)
    torch.manual_seed(0)
    encoder = BehaviourEncoder(settings).to(device).train()
    optimizer = Learning(
        encoder, lambda batch: next_product_loss(encoder, learning, batch), counted_by=TARGETS,
        learning_rate=learning.learning_rate, weight_decay=0.0,
    ).configure_optimizers()  # fmt: skip
    spent = dict.fromkeys(("batches", "forward", "backward", "optimizer"), 0.0)
    events = seen = 0
    order = iter(TokenBudget(batches.lengths, tokens=budget, seed=0, epoch=lambda: 0))
    for number, rows in enumerate(order):
        if steps and number == steps:
            break
        seconds, batch = _timed(lambda rows=rows: _to(device, batches.__getitems__(rows)), device)
        spent["batches"] += seconds
        seconds, loss = _timed(lambda batch=batch: next_product_loss(encoder, learning, batch), device)
        spent["forward"] += seconds
        spent["backward"] += _timed(loss.backward, device)[0]
        spent["optimizer"] += _timed(lambda: (optimizer.step(), optimizer.zero_grad(set_to_none=True)), device)[0]
        events += int((batch[TARGETS] > 0).sum())
        seen += len(batch[TARGETS])
    total = sum(spent.values())
    useful = 3 * events * _flops(settings, learning, batches, events, seen)
    shares = ", ".join(f"{of} {seconds / total:.0%}" for of, seconds in spent.items())
    print(
        f"{name}: {events:,} events in {total:.1f} s, {events / total:,.0f} a second; {1 - events / seen:.0%} of tokens "
        f"pad; {useful / total / peak:.1%} of peak; {shares}",
        flush=True,
    )
    return events / total


def _flops(
    settings: EncoderSettings, learning: LearningSettings, batches: PackedBatches, events: int, seen: int
) -> float:
    """Give floating point operations of an event forward; pairs that attention sees are those of real events alone."""
    width = settings.width
    dense = settings.layers * 2 * width * (4 * width + width + 5 * width + 2 * width)
    lengths = batches.lengths * events / seen
    pairs = settings.layers * 4 * width * float((lengths * (lengths + 1) / 2).sum() / lengths.sum())
    return dense + pairs + 2 * width * (learning.negatives + 1)


def _to(device: torch.device, batch: dict) -> dict:
    fields = {name: codes.to(device) for name, codes in batch["fields"].items()}
    moved = {name: batch[name].to(device) for name in ("from_end", TARGETS)}
    return batch | moved | {"fields": fields, "places": [place.to(device) for place in batch["places"]]}


def _peak(device: torch.device) -> float:
    one, other = (torch.randn(PEAK_SIDE, PEAK_SIDE, device=device) for _ in range(2))
    one @ other
    seconds = min(_timed(lambda: one @ other, device)[0] for _ in range(5))
    return 2 * PEAK_SIDE**3 / seconds


def _timed(work: Callable[[], object], device: torch.device) -> tuple[float, object]:
    on_gpu = device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    if on_gpu:
        torch.cuda.synchronize()
    start = clock()
    done = work()
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - start, done


if __name__ == "__main__":
    main()
