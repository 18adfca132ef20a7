"""The encoder: a causal transformer over packed sequences, which reads each customer's events and nobody else's.

Holds the network from token fields to hidden vectors, and the rungs that stand in for its blocks in comparisons: a
recurrent and a convolutional one. What it learns by belongs to `next_product` and `pretraining`. Imports torch at
module level: import it only inside functions that train or predict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from insight_assets.ml.behaviour.tokens import ITEM

TRANSFORMER, RECURRENT, CONVOLUTIONAL = "transformer", "gru", "cnn"

@dataclass(frozen=True)
class EncoderSettings:
    """Size of the encoder.

    Attributes:
        fields: Token field to how many codes it has; code 0 says that nothing is known. `item` names the product, and
            each field whose name begins with `item_` a trait of products.
        width: Width of all hidden layers.
        layers: Blocks.
        heads: Attention heads.
        positions: Places from the end of a sequence that are told apart; those further back are one.
        dropout: Share of hidden values dropped while learning.
        blocks: Kind of block: `transformer`, `gru` or `cnn`.
        kernel: Events that a convolutional block looks at.
        rotary: Whether attention tells places by how far apart two tokens are (Su et al., arXiv 2104.09864), instead of
            by their distance from the end. That distance says how much is still to come, so it must not be told where
            the encoder foretells when something happens next.
    """

    fields: Mapping[str, int] = field(default_factory=dict)
    width: int = 64
    layers: int = 1
    heads: int = 1
    positions: int = 50
    dropout: float = 0.2
    blocks: str = TRANSFORMER
    kernel: int = 5
    rotary: bool = False


SIZES: Mapping[str, Mapping[str, int]] = {
    "XS": {"width": 64, "layers": 1, "heads": 1},
    "S": {"width": 128, "layers": 2, "heads": 2},
    "M": {"width": 256, "layers": 4, "heads": 4},
    "L": {"width": 1024, "layers": 8, "heads": 4},
}
"""Named sizes, the smallest for a CPU."""


@dataclass(frozen=True)
class PackedLayout:
    """Where the tokens of a batch stand; see `packing.Packing`.

    Attributes:
        from_end: Shape (t,), int64.
        shapes: Rectangles of sequences and steps.
        places: One tensor a rectangle, int64, shape (tokens in it,): places of the flattened rectangle with a token.
    """

    from_end: torch.Tensor
    shapes: tuple[tuple[int, int], ...]
    places: tuple[torch.Tensor, ...]

    def rectangles(self, packed: torch.Tensor) -> list[torch.Tensor]:
        """Lay packed values of shape (t, width) out as rectangles (sequences, steps, width), zeros where none is."""
        parts = packed.split([len(place) for place in self.places])
        return [
            part.new_zeros(rows * steps, part.shape[-1]).index_copy(0, place, part).view(rows, steps, -1)
            for part, place, (rows, steps) in zip(parts, self.places, self.shapes, strict=True)
        ]

    def packed(self, rectangles: list[torch.Tensor]) -> torch.Tensor:
        """Take rectangles together again, without the places that hold no token: shape (t, width)."""
        return torch.cat(
            [each.flatten(0, 1).index_select(0, place) for each, place in zip(rectangles, self.places, strict=True)]
        )


class GatedBlock(nn.Module):
    """Pre-norm causal attention and feed-forward, each let through by a learned gate (LiGR, arXiv 2502.03417)."""

    def __init__(self, settings: EncoderSettings) -> None:
        """Make the layers."""
        super().__init__()
        width = settings.width
        self.heads, self.dropout, self.rotary = settings.heads, settings.dropout, settings.rotary
        self.attention_norm, self.mixing_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        # Queries, keys, values and the gate are one product of matrices.
        self.asked = nn.Linear(width, 4 * width)
        self.attended = nn.Linear(width, width)
        # SwiGLU (Shazeer, 2020) and its gate likewise.
        self.widened = nn.Linear(width, 4 * width + width)
        self.narrowed = nn.Linear(2 * width, width)

    def forward(self, hidden: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
        """Let each token see those before it in its sequence; shape (t, width)."""
        width = hidden.shape[-1]
        asked, gate = self.asked(self.attention_norm(hidden)).split([3 * width, width], dim=-1)
        seen = [self._attend(rectangle) for rectangle in layout.rectangles(asked)]
        attended = self.attended(layout.packed(seen)) * torch.sigmoid(gate)
        hidden = hidden + F.dropout(attended, self.dropout, self.training)
        up, side, gate = self.widened(self.mixing_norm(hidden)).split([2 * width, 2 * width, width], dim=-1)
        mixed = self.narrowed(F.silu(up) * side) * torch.sigmoid(gate)
        return hidden + F.dropout(mixed, self.dropout, self.training)

    def _attend(self, asked: torch.Tensor) -> torch.Tensor:
        rows, steps, _ = asked.shape
        heads = asked.view(rows, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.rotary:
            heads = torch.cat([turned_by_place(heads[:2]), heads[2:]])
        drop = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], dropout_p=drop, is_causal=True)
        return attended.transpose(1, 2).reshape(rows, steps, -1)


def turned_by_place(vectors: torch.Tensor) -> torch.Tensor:
    """Turn vectors by angles that grow with their place, so that products of two depend on how far apart they are.

    Args:
        vectors: Shape (..., steps, width), width even.
    """
    steps, half = vectors.shape[-2], vectors.shape[-1] // 2
    slowness = 10_000 ** (torch.arange(half, device=vectors.device, dtype=torch.float32) / half)
    angles = torch.arange(steps, device=vectors.device)[:, None] / slowness
    cosine, sine = angles.cos().to(vectors.dtype), angles.sin().to(vectors.dtype)
    one, other = vectors[..., :half], vectors[..., half:]
    return torch.cat([one * cosine - other * sine, one * sine + other * cosine], dim=-1)


class RecurrentBlock(nn.Module):
    """A gated recurrent unit over each sequence."""

    def __init__(self, settings: EncoderSettings) -> None:
        """Make the layers."""
        super().__init__()
        self.norm = nn.LayerNorm(settings.width)
        self.unit = nn.GRU(settings.width, settings.width, batch_first=True)
        self.dropout = settings.dropout

    def forward(self, hidden: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
        """Read each sequence from its first token on; shape (t, width)."""
        read = layout.packed([self.unit(rectangle)[0] for rectangle in layout.rectangles(self.norm(hidden))])
        return hidden + F.dropout(read, self.dropout, self.training)


class ConvolutionalBlock(nn.Module):
    """A causal convolution over each sequence."""

    def __init__(self, settings: EncoderSettings) -> None:
        """Make the layers."""
        super().__init__()
        self.norm = nn.LayerNorm(settings.width)
        self.before = settings.kernel - 1
        self.convolution = nn.Conv1d(settings.width, settings.width, settings.kernel)
        self.dropout = settings.dropout

    def forward(self, hidden: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
        """Let each token see the few before it; shape (t, width)."""
        rectangles = [F.pad(each.transpose(1, 2), (self.before, 0)) for each in layout.rectangles(self.norm(hidden))]
        read = layout.packed([F.gelu(self.convolution(each)).transpose(1, 2) for each in rectangles])
        return hidden + F.dropout(read, self.dropout, self.training)


BLOCKS = {TRANSFORMER: GatedBlock, RECURRENT: RecurrentBlock, CONVOLUTIONAL: ConvolutionalBlock}


class BehaviourEncoder(nn.Module):
    """Token fields to hidden vectors.

    A token is the sum of small embeddings of its fields. What a product is, in input and output alike, is its own row
    and the sum of its traits, so that products that were never sold yet can be told from each other and foretold.
    """

    def __init__(self, settings: EncoderSettings, traits: Mapping[str, torch.Tensor] | None = None) -> None:
        """Make the layers.

        Args:
            settings: Sizes.
            traits: Field that begins with `item_` to its code for each product, shape (codes of `item`,), int64.
        """
        super().__init__()
        self.settings = settings
        width = settings.width
        self.embeddings = nn.ModuleDict({name: nn.Embedding(codes, width) for name, codes in settings.fields.items()})
        self.position = None if settings.rotary else nn.Embedding(settings.positions, width)
        self.blocks = nn.ModuleList(BLOCKS[settings.blocks](settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(width)
        for embedding in filter(None, (*self.embeddings.values(), self.position)):
            nn.init.normal_(embedding.weight, std=0.02)
        for name, codes in (traits or {}).items():
            self.register_buffer(f"{name}_of", codes, persistent=False)
        self.traits = tuple(traits or ())
        self.told_by_tokens = tuple(name for name in settings.fields if name != ITEM and name not in self.traits)

    def products(self, codes: torch.Tensor | None = None) -> torch.Tensor:
        """Give the vectors of products, of all where no codes are given: shape (products, width)."""
        rows = self.embeddings[ITEM].weight if codes is None else self.embeddings[ITEM](codes)
        for name in self.traits:
            trait = getattr(self, f"{name}_of")
            rows = rows + self.embeddings[name](trait if codes is None else trait[codes])
        return rows

    def forward(self, fields: Mapping[str, torch.Tensor], layout: PackedLayout) -> torch.Tensor:
        """Read sequences.

        Args:
            fields: Field to the codes of the tokens, each of shape (t,), int64; traits follow from `item`.
            layout: Where the tokens stand.

        Returns:
            Shape (t, width): for each token what was known of its customer after it.
        """
        return self.read(self.embedded(fields, layout), layout)

    def embedded(self, fields: Mapping[str, torch.Tensor], layout: PackedLayout) -> torch.Tensor:
        """Give the sum of each token's embeddings, shape (t, width); arguments as for `forward`."""
        hidden = self.products(fields[ITEM])
        if self.position is not None:
            hidden = hidden + self.position(layout.from_end.clamp(max=self.settings.positions - 1))
        for name in self.told_by_tokens:
            hidden = hidden + self.embeddings[name](fields[name])
        return hidden

    def read(self, embedded: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
        """Read sequences of embedded tokens, shape (t, width); result as for `forward`."""
        hidden = F.dropout(embedded, self.settings.dropout, self.training)
        for block in self.blocks:
            hidden = block(hidden, layout)
        return self.norm(hidden)
