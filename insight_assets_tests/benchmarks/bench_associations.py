"""Benchmarks of product associations: the same sets as mlxtend, how much faster, and what chance alone finds.

Not a test. Run one of

    python -m insight_assets_tests.benchmarks.bench_associations groceries DATA/groceries_baskets/groceries.csv
    python -m insight_assets_tests.benchmarks.bench_associations beauty DATA/amazon_sequences/s3rec/Beauty.txt.gz
    python -m insight_assets_tests.benchmarks.bench_associations shuffled DATA/groceries_baskets/groceries.csv

The first two count sets of up to three products and, where mlxtend can be imported, compare sets, counts and CPU
seconds with its fpgrowth. It is no dependency: install it into a folder of its own and name that in PYTHONPATH.
"""

import argparse
import gzip
import time
from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse

from insight_assets.insights.associations.baskets import Baskets
from insight_assets.insights.associations.counting import FrequentSets, frequent_sets
from insight_assets.insights.associations.rules import associate
from insight_assets.insights.associations.shuffling import same_products, same_sizes

TODAY = date(2025, 6, 1)


def main() -> None:
    """Run the benchmark named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, read, supports in (
        ("groceries", read_groceries, [0.001, 0.002, 0.005, 0.01]),
        ("beauty", read_sequences, [0.0005, 0.001]),
    ):
        command = commands.add_parser(name)
        command.add_argument("file", type=Path)
        command.add_argument("--supports", type=float, nargs="+", default=supports)
        command.add_argument("--repeats", type=int, default=5)
        command.set_defaults(run=_compare, read=read)
    shuffled = commands.add_parser("shuffled")
    shuffled.add_argument("file", type=Path)
    shuffled.add_argument("--shuffles", type=int, default=200)
    shuffled.set_defaults(run=_shuffled)
    arguments = parser.parse_args()
    arguments.run(arguments)


def read_groceries(file: Path) -> sparse.csr_matrix:
    """Baskets of the file, products in ascending order of their names."""
    return _matrix([line.split(",") for line in file.read_text(encoding="utf-8").splitlines()])


def read_sequences(file: Path) -> sparse.csr_matrix:
    """Everything a customer bought as one basket."""
    with gzip.open(file, "rt") as stream:
        return _matrix([line.split()[1:] for line in stream])


def _matrix(baskets: list[list[str]]) -> sparse.csr_matrix:
    names = sorted({name for basket in baskets for name in basket})
    column = {name: number for number, name in enumerate(names)}
    contents = [sorted({column[name] for name in basket}) for basket in baskets]
    lengths = [len(basket) for basket in contents]
    columns = np.array([number for basket in contents for number in basket], dtype=np.int32)
    return sparse.csr_matrix(
        (np.ones(len(columns), dtype=np.int32), columns, np.concatenate([[0], np.cumsum(lengths)])),
        shape=(len(baskets), len(names)),
    )


def _compare(arguments: argparse.Namespace) -> None:
    contents = arguments.read(arguments.file)
    baskets, products = contents.shape
    print(f"{baskets:,} baskets, {products:,} products, {contents.nnz / baskets:.2f} a basket")
    for support in arguments.supports:
        least = int(np.ceil(support * contents.shape[0] - 1e-9))
        seconds, found = _timed(lambda least=least: frequent_sets(contents, min_baskets=least), arguments.repeats)
        print(
            f"support {support}: {len(found.pairs):,} pairs, {len(found.triples):,} triples in {seconds:.4f} s", end=""
        )
        if find_spec("mlxtend") is None:
            print("; mlxtend is not installed")
            continue
        theirs, same = _rival(contents, support, found)
        print(f"; mlxtend fpgrowth {theirs:.3f} s, {theirs / seconds:.0f} times; the same sets and counts: {same}")


def _timed(work: Callable[[], FrequentSets], repeats: int) -> tuple[float, FrequentSets]:
    """Least CPU seconds of several runs, after one that warms up."""
    found = work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds), found


def _rival(contents: sparse.csr_matrix, support: float, found: FrequentSets) -> tuple[float, bool]:
    import pandas as pd
    from mlxtend.frequent_patterns import fpgrowth

    frame = pd.DataFrame(contents.toarray().astype(bool))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        table = fpgrowth(frame, min_support=support, max_len=3)
        seconds.append(time.process_time() - start)
    theirs = {
        tuple(sorted(items)): round(share * contents.shape[0])
        for items, share in zip(table["itemsets"], table["support"], strict=True)
    }
    least = min(theirs.values())
    ours = {(column,): int(count) for column, count in enumerate(found.counts) if count >= least}
    for sets, counts in ((found.pairs, found.pair_counts), (found.triples, found.triple_counts)):
        ours |= {tuple(row): count for row, count in zip(sets.tolist(), counts.tolist(), strict=True)}
    return min(seconds), ours == theirs


def _shuffled(arguments: argparse.Namespace) -> None:
    contents = read_groceries(arguments.file)
    real = _found(contents)
    print(f"as they are: {real.height} rules, by size {real['size'].value_counts().sort('size').rows()}")
    print(real.head(12).select(pl.exclude("as_of", "window_days", "baskets", "customers")))
    for shuffle in (same_products, same_sizes):
        generator = np.random.default_rng(1)
        found = [_found(shuffle(contents, generator)).height for _ in range(arguments.shuffles)]
        print(
            f"{shuffle.__name__}: {np.count_nonzero(found)} of {arguments.shuffles} shuffles find anything; "
            f"rules a shuffle {np.mean(found):.3f}"
        )


def _found(contents: sparse.csr_matrix) -> pl.DataFrame:
    baskets = Baskets(
        products=tuple(f"p{number:05d}" for number in range(contents.shape[1])),
        customers=np.arange(contents.shape[0]),
        contents=contents,
    )
    return associate(baskets, as_of=TODAY, smallest_group=1).rows


if __name__ == "__main__":
    main()
