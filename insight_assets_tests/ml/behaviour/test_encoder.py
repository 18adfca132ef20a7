"""Packed sequences are read as if each stood alone, by every kind of block, and training comes back from a kill."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from insight_assets.ml.behaviour import next_product
from insight_assets.ml.behaviour.encoder import (
    BLOCKS,
    TRANSFORMER,
    BehaviourEncoder,
    EncoderSettings,
    PackedLayout,
)
from insight_assets.ml.behaviour.learning import batch_of
from insight_assets.ml.behaviour.next_product import (
    LearningSettings,
    product_vectors,
    read_customers,
    train_next_product,
)
from insight_assets.ml.behaviour.packing import TokenBudget, cut_to_budget, pack
from insight_assets.ml.behaviour.softmax import chunked_softmax_loss, sampled_softmax_loss
from insight_assets.ml.behaviour.tokens import HASHED, ITEM, PRICE_BUCKETS, Tokens, Vocabulary, tokens_of
from insight_assets.ml.training import read_weights, write_weights

PRODUCTS = 30
SMALL = EncoderSettings(fields={ITEM: PRODUCTS + 1}, width=16, layers=2, heads=2, positions=12, dropout=0.1)
QUICK = LearningSettings(negatives=16, tokens=64, learning_rate=1e-2)
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def drawn(lengths, *, seed: int = 0) -> Tokens:
    generator = np.random.default_rng(seed)
    return tokens_of([generator.integers(1, PRODUCTS + 1, length) for length in lengths])


def encoder_of(sizes: EncoderSettings = SMALL, *, seed: int = 1) -> BehaviourEncoder:
    torch.manual_seed(seed)
    encoder = BehaviourEncoder(sizes).eval()
    with torch.no_grad():
        for weights in encoder.parameters():
            weights.add_(0.3 * torch.randn_like(weights))
    return encoder


def hidden_of(encoder: BehaviourEncoder, tokens: Tokens, rows: np.ndarray) -> dict[int, torch.Tensor]:
    """Hidden vectors of each sequence when the rows share a batch."""
    packing = pack(tokens.offsets, rows)
    batch = batch_of(tokens.fields, packing)
    with torch.inference_mode():
        read = encoder(batch["fields"], PackedLayout(batch["from_end"], batch["shapes"], tuple(batch["places"])))
    parts = read.split(tokens.lengths[packing.rows].tolist())
    return dict(zip(packing.rows.tolist(), parts, strict=True))


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(0, 1000))
def test_a_batch_holds_every_token_once_in_the_order_of_its_sequence(lengths, seed):
    tokens = drawn(lengths)
    rows = np.random.default_rng(seed).permutation(len(lengths))
    packing = pack(tokens.offsets, rows)
    assert sorted(packing.rows) == sorted(rows)
    assert sorted(packing.tokens) == list(range(sum(lengths)))
    assert packing.filled.sum() == sum(lengths)
    assert sum(rows * steps for rows, steps in packing.shapes) == len(packing.filled)
    # Rectangles pad below a half of what they hold.
    assert len(packing.filled) < 1.5 * sum(lengths) + 1
    start = 0
    for row in packing.rows:
        stop = start + lengths[row]
        assert packing.tokens[start:stop].tolist() == list(range(tokens.offsets[row], tokens.offsets[row + 1]))
        assert packing.from_end[start:stop].tolist() == list(range(lengths[row] - 1, -1, -1))
        start = stop


def test_an_empty_sequence_is_refused():
    with pytest.raises(ValueError, match="sequence 1 holds no token"):
        pack(np.array([0, 2, 2, 5]), np.arange(3))


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.integers(1, 60), st.integers(0, 100))
def test_batches_keep_to_the_budget_and_every_sequence_comes_once_an_epoch(lengths, budget, seed):
    lengths, epoch = np.array(lengths), [0]
    batches = TokenBudget(lengths, tokens=budget, seed=seed, epoch=lambda: epoch[0])
    first, again = list(batches), list(batches)
    assert first == again
    assert len(first) == len(batches)
    assert sorted(row for rows in first for row in rows) == list(range(len(lengths)))
    for rows in first:
        assert lengths[rows].sum() <= budget or len(rows) == 1
    epoch[0] = 1
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))


def test_a_budget_fills_batches():
    batches = cut_to_budget(np.arange(5), np.array([3, 3, 3, 9, 1]), 6)
    assert [rows.tolist() for rows in batches] == [[0, 1], [2], [3], [4]]


@pytest.mark.parametrize("blocks", BLOCKS)
@settings(max_examples=8, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 1000))
def test_what_is_read_of_a_customer_does_not_depend_on_who_else_is_in_the_batch(blocks, lengths, seed):
    encoder, tokens = encoder_of(replace(SMALL, blocks=blocks)), drawn(lengths, seed=seed)
    together = hidden_of(encoder, tokens, np.arange(len(lengths)))
    for row in range(min(len(lengths), 5)):
        alone = hidden_of(encoder, tokens, np.array([row]))[row]
        assert torch.allclose(together[row], alone, atol=2e-5)


def test_packing_equals_padding():
    """The same blocks over one rectangle with a mask of who is there, as most code has it."""
    encoder, tokens = encoder_of(), drawn([5, 1, 12, 7])
    packed = hidden_of(encoder, tokens, np.arange(4))
    width, steps = SMALL.width, int(tokens.lengths.max())
    items = torch.zeros(4, steps, dtype=torch.int64)
    for row, (start, stop) in enumerate(zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)):
        items[row, : stop - start] = torch.from_numpy(tokens.fields[ITEM][start:stop])
    lengths = torch.from_numpy(tokens.lengths)
    from_end = (lengths[:, None] - 1 - torch.arange(steps)).clamp(min=0, max=SMALL.positions - 1)
    there = torch.arange(steps) < lengths[:, None]
    mask = there[:, None, None, :] & torch.ones(steps, steps, dtype=torch.bool).tril()
    with torch.inference_mode():
        hidden = encoder.position(from_end) + encoder.embeddings[ITEM](items)
        for block in encoder.blocks:
            asked, gate = block.asked(block.attention_norm(hidden)).split([3 * width, width], dim=-1)
            heads = asked.view(4, steps, 3, SMALL.heads, -1).permute(2, 0, 3, 1, 4)
            scores = heads[0] @ heads[1].transpose(-1, -2) / math.sqrt(width / SMALL.heads)
            seen = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1).nan_to_num() @ heads[2]
            hidden = hidden + block.attended(seen.transpose(1, 2).flatten(2)) * torch.sigmoid(gate)
            up, side, gate = block.widened(block.mixing_norm(hidden)).split([2 * width, 2 * width, width], dim=-1)
            hidden = hidden + block.narrowed(F.silu(up) * side) * torch.sigmoid(gate)
        hidden = encoder.norm(hidden)
    for row in range(4):
        assert torch.allclose(packed[row], hidden[row][there[row]], atol=2e-5)


@pytest.mark.parametrize("blocks", BLOCKS)
def test_a_token_sees_nothing_that_comes_later(blocks):
    encoder, tokens = encoder_of(replace(SMALL, blocks=blocks)), drawn([12])
    before = hidden_of(encoder, tokens, np.array([0]))[0]
    changed = tokens.fields[ITEM].copy()
    changed[8:] = PRODUCTS + 1 - changed[8:]
    after = hidden_of(encoder, Tokens(tokens.offsets, {ITEM: changed}), np.array([0]))[0]
    assert torch.equal(before[:8], after[:8])
    assert not torch.allclose(before[8:], after[8:], atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(2, 60), st.integers(1, 500))
def test_the_chunked_softmax_is_the_plain_one(tokens, products, scores_at_once):
    torch.manual_seed(tokens)
    hidden, vectors = torch.randn(tokens, 8, dtype=torch.float64), torch.randn(products, 8, dtype=torch.float64)
    targets = torch.randint(0, products, (tokens,))
    told = []
    for loss in (
        lambda h, v: chunked_softmax_loss(h, v, targets),
        lambda h, v: F.cross_entropy(h @ v.T, targets) if tokens else (h.sum() + v.sum()) * 0,
    ):
        h, v = hidden.clone().requires_grad_(), vectors.clone().requires_grad_()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("insight_assets.ml.behaviour.softmax.CHUNK_SCORES", scores_at_once)
            value = loss(h, v)
            (3 * value).backward()
        told.append((value.detach(), h.grad, v.grad))
    for chunked, plain in zip(*told, strict=True):
        assert torch.allclose(chunked, plain, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 30), st.integers(2, 12), st.integers(0, 1000))
def test_the_sampled_softmax_is_the_plain_one_without_the_target_among_the_negatives(tokens, negatives, products, seed):
    torch.manual_seed(seed)
    given_ = torch.randn(tokens, 6, dtype=torch.float64), torch.randn(products, 6, dtype=torch.float64)
    targets, drawn_ones = torch.randint(0, products, (tokens,)), torch.randint(0, products, (negatives,))
    told = []
    for plainly in (False, True):
        hidden, vectors = (each.clone().requires_grad_() for each in given_)
        if plainly:
            terms = []
            for row, target in enumerate(targets.tolist()):
                among = [target, *(each for each in drawn_ones.tolist() if each != target)]
                terms.append(F.cross_entropy((vectors[among] @ hidden[row])[None], torch.tensor([0])))
            loss = torch.stack(terms).mean()
        else:
            loss = sampled_softmax_loss(hidden, vectors[targets], vectors[drawn_ones], targets, drawn_ones)
        loss.backward()
        told.append((loss.detach(), hidden.grad, vectors.grad))
    for sampled, plain in zip(*told, strict=True):
        assert torch.allclose(sampled, plain, atol=1e-10)


def chains(customers: int, *, seed: int, shuffled: bool = False) -> Tokens:
    """Product p is followed by one of two of its own successors: only the last product tells what comes."""
    generator = np.random.default_rng(seed)
    successors = np.random.default_rng(99).integers(1, PRODUCTS + 1, (PRODUCTS + 1, 2))
    sequences = []
    for _ in range(customers):
        walk = [int(generator.integers(1, PRODUCTS + 1))]
        while len(walk) < generator.integers(4, 16):
            walk.append(int(successors[walk[-1], generator.integers(0, 2)]))
        sequences.append(generator.permutation(walk) if shuffled else np.array(walk))
    return tokens_of(sequences)


def recalled(encoder: BehaviourEncoder, tokens: Tokens) -> float:
    """Share of customers whose last product is among the two foretold from the others."""
    scores = read_customers(encoder, tokens.without_last()) @ product_vectors(encoder).T
    scores[:, 0] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :2]
    return float((best == tokens.fields[ITEM][tokens.offsets[1:] - 1][:, None]).any(axis=1).mean())


def train(tokens: Tokens, folder, **options):
    told = {"settings": SMALL, "learning": QUICK, "max_epochs": 8, "seed": 5, "log": lambda _line: None}
    return train_next_product(tokens, work_directory=folder, **(told | options))


def test_a_planted_order_is_learnt_and_shuffled_time_destroys_it(tmp_path):
    others, kept = chains(300, seed=2), chains(100, seed=3)
    encoder, epochs = train(chains(600, seed=1), tmp_path, stop=kept)
    assert recalled(encoder, others) > 0.9
    scores = read_customers(encoder, kept.without_last()) @ product_vectors(encoder).T
    wanted = scores[np.arange(100), kept.fields[ITEM][kept.offsets[1:] - 1]]
    ndcg = (1 / np.log2(2 + (scores > wanted[:, None]).sum(axis=1))).mean()
    assert min(epoch.validation_loss for epoch in epochs) == pytest.approx(1 - ndcg, abs=1e-3)
    without_order, _ = train(chains(600, seed=1, shuffled=True), tmp_path, stop=chains(100, seed=3, shuffled=True))
    assert recalled(without_order, others) < 0.4


@pytest.mark.parametrize("blocks", [blocks for blocks in BLOCKS if blocks != TRANSFORMER])
def test_the_other_blocks_learn_it_too(blocks, tmp_path):
    encoder, _ = train(chains(600, seed=1), tmp_path, settings=replace(SMALL, blocks=blocks))
    assert recalled(encoder, chains(300, seed=2)) > 0.9


def test_a_training_killed_in_any_epoch_comes_back_to_the_same_weights(tmp_path, monkeypatch):
    tokens, stop = chains(120, seed=1), chains(40, seed=3)
    whole, epochs = train(tokens, tmp_path / "whole", stop=stop, max_epochs=4)

    class Killed(BaseException):
        pass

    steps, real = [0], next_product.next_product_loss

    def killed(*arguments):
        steps[0] += 1
        if steps[0] == 40:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(next_product, "next_product_loss", killed)
    with pytest.raises(Killed):
        train(tokens, tmp_path / "killed", stop=stop, max_epochs=4)
    monkeypatch.setattr(next_product, "next_product_loss", real)
    told: list[str] = []
    again, epochs_again = train(tokens, tmp_path / "killed", stop=stop, max_epochs=4, log=told.append)
    assert any("going on from" in line for line in told)
    assert epochs_again == epochs
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name])


def test_without_rows_kept_apart_all_epochs_are_learnt_and_two_trainings_are_one(tmp_path):
    tokens = chains(60, seed=1)
    one, epochs = train(tokens, tmp_path / "one", max_epochs=3)
    other, _ = train(tokens, tmp_path / "other", max_epochs=3)
    assert [epoch.validation_loss for epoch in epochs] == [None] * 3
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, other.state_dict()[name])
    write_weights(one, tmp_path / "encoder.safetensors")
    read = read_weights(BehaviourEncoder(SMALL), tmp_path / "encoder.safetensors")
    assert np.array_equal(read_customers(read, tokens), read_customers(one, tokens))


def test_customers_without_events_have_no_vector_and_long_ones_are_read_from_their_end(tmp_path):
    encoder, tokens = encoder_of(), drawn([3, 40])
    vectors = read_customers(encoder, Tokens(np.array([0, 3, 3, 43]), tokens.fields))
    assert np.array_equal(vectors[1], np.zeros(SMALL.width))
    assert np.linalg.norm(vectors[[0, 2]], axis=1) == pytest.approx(1)
    assert np.allclose(vectors[2], read_customers(encoder, tokens.last(SMALL.positions))[1], atol=1e-6)
    with pytest.raises(ValueError, match="nothing to learn from"):
        train(drawn([1, 1]), tmp_path)


def sequences(*rows: list[tuple[int, int, str | None, str | None, float]]) -> pl.DataFrame:
    columns = ("kinds", "times", "products", "categories", "values")
    types = (pl.Int16, pl.Int64, pl.String, pl.String, pl.Float32)
    return pl.DataFrame(
        {name: [[event[place] for event in row] for row in rows] for place, name in enumerate(columns)},
        schema={name: pl.List(dtype) for name, dtype in zip(columns, types, strict=True)},
    )


def test_events_become_codes_and_products_never_seen_have_a_row_of_their_own():
    day = 86_400
    known = sequences(
        [(0, 0, "lamp", "light", 20.0), (3, 30, "mug", None, 0.0), (1, 40 * day, None, None, 0.0)],
        [(2, 3 * day + 7 * 3_600, "lamp", "home", 35.0)], [],
    )  # fmt: skip
    vocabulary = Vocabulary.fit(known, kinds=5)
    assert vocabulary.products == ("lamp", "mug")
    assert vocabulary.traits_of == {"category": ("home", None), "brand": (None, None)}
    assert vocabulary.price_of == (27.5, 0.0)
    tokens = vocabulary.tokens(known)
    assert tokens.lengths.tolist() == [3, 1, 0]
    assert tokens.fields["kind"].tolist() == [1, 4, 2, 3]
    assert tokens.fields[ITEM].tolist() == [1, 2, 0, 1]
    assert tokens.fields["price"].tolist() == [1, 0, 0, 2]
    assert tokens.fields["pause"].tolist() == [0, 1, 11, 0]
    assert tokens.fields["hour"].tolist() == [1, 1, 1, 8]
    assert tokens.fields["weekday"].tolist() == [4, 4, 2, 7]
    for name, codes in tokens.fields.items():
        assert codes.max() < vocabulary.sizes[name]
    new = vocabulary.tokens(sequences([(0, 0, "vase", "glass", 9_000.0)]))
    assert len(vocabulary.products) < new.fields[ITEM][0] <= len(vocabulary.products) + HASHED
    traits = vocabulary.traits_of_codes()["item_category"]
    assert traits[:3].tolist() == [0, vocabulary.traits["category"].index("home") + 1, 0]
    assert len(traits) == vocabulary.sizes[ITEM]
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert len(vocabulary.prices) <= PRICE_BUCKETS


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_a_vocabulary_does_not_depend_on_the_order_of_rows(seed):
    generator = np.random.default_rng(seed)
    rows = [
        [
            (0, int(time), f"p{generator.integers(9)}", f"c{generator.integers(3)}", float(generator.integers(50)))
            for time in np.sort(generator.integers(0, 10**6, 4))
        ]
        for _ in range(6)
    ]
    told = sequences(*rows)
    mixed = told.sample(fraction=1, shuffle=True, seed=seed)
    assert Vocabulary.fit(mixed, kinds=2) == Vocabulary.fit(told, kinds=2)


def test_products_that_share_a_trait_are_alike_and_the_encoder_reads_all_fields():
    known = sequences(*[[(0, hour * 4_000, f"p{hour}", f"c{hour % 2}", 10.0 + hour) for hour in range(6)]])
    vocabulary = Vocabulary.fit(known, kinds=3)
    sizes = replace(SMALL, fields=vocabulary.sizes)
    torch.manual_seed(0)
    traits = {name: torch.from_numpy(codes) for name, codes in vocabulary.traits_of_codes().items()}
    encoder = BehaviourEncoder(sizes, traits).eval()
    tokens = vocabulary.tokens(known)
    told = read_customers(encoder, tokens)
    for name, codes in tokens.fields.items():
        changed = {**tokens.fields, name: (codes + 1) % vocabulary.sizes[name]}
        assert not np.allclose(read_customers(encoder, Tokens(tokens.offsets, changed)), told, atol=1e-4), name
    with torch.no_grad():
        encoder.embeddings[ITEM].weight.zero_()
    vectors = product_vectors(encoder)
    same = vocabulary.traits_of_codes()
    assert np.allclose(vectors[1], vectors[3]) == all(of[1] == of[3] for of in same.values())
    assert not np.allclose(vectors[1], vectors[2], atol=0.1)
