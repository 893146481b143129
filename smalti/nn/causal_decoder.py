"""The decoder of a transformer: the layers of Llama of `transformers`, from a configuration.

    h ← h + drop(attention(norm h))
    h ← h + drop(mlp(norm h))

for each layer, and a last norm. Attention is causal and rotary; the MLP is gated by SiLU. It maps
vectors to vectors: what is embedded, and where, is the caller's. A `KeyValueCache` holds what
attention needs of earlier places, so that one place more costs the work of one place.

References:
    Attention Is All You Need, A. Vaswani et al., 2017, arXiv 1706.03762.
    LLaMA: Open and Efficient Foundation Language Models, H. Touvron et al., 2023, arXiv 2302.13971.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from torch import Tensor, nn

from smalti.extras import explain_import_error
from smalti.nn.attention import attend
from smalti.nn.dropout import Dropout

__all__ = ["CausalDecoder", "KeyValueCache"]

EPSILON = 1e-6
ATTENTION = "smalti"  # the name of `attend` in transformers


class CausalDecoder(nn.Module):
    """Maps vectors (B, S, C) to vectors (B, S, C), each from those up to it.

    Arguments:
        channels: C, a multiple of heads, with an even share for each.
        layers: Number of layers.
        heads: Heads of each attention.
        dropout: Probability that an output of an attention or MLP is dropped in training.

    Raises:
        MissingExtra: If `transformers` is not installed.
    """

    def __init__(self, channels: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, channels // heads
        self.layers: Any = _llama_layers(channels, layers, heads)
        for layer in self.layers:
            # torch's, which keeps float64, where that of transformers rounds to float32.
            layer.input_layernorm = nn.RMSNorm(channels, EPSILON)
            layer.post_attention_layernorm = nn.RMSNorm(channels, EPSILON)
        self.norm = nn.RMSNorm(channels, EPSILON)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        h: Tensor,
        rotation: Tensor,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Maps vectors (B, S, C), which come after those in the cache, to (B, S, C).

        Arguments:
            h: (B, S, C).
            rotation: (2, S, d), of `rotary_tables`.
            mask: (B, 1, S, N), bool, which of the N places up to the last each may attend to; all
                up to it if not given. S is 1, or the cache is empty.
            cache: Holds the places before, and gets these; none if not given.
        """
        if not len(h):
            return h  # of no signals, which transformers does not take
        _register_attention()
        cos, sin = rotation.to(h.dtype)[:, None]
        for layer in self.layers:
            a, _ = layer.self_attn(
                layer.input_layernorm(h),
                position_embeddings=(cos, sin),
                attention_mask=mask,
                cache=cache,
            )
            h = h + self.dropout(a)
            h = h + self.dropout(layer.mlp(layer.post_attention_layernorm(h)))
        if cache is not None:
            cache.length += rotation.shape[1]
        return self.norm(h)


class KeyValueCache:
    """Holds keys and values of all layers, with room for all places from the start.

    Arguments:
        decoder: The decoder.
        batch: B.
        places: N, how many places there will be.
        like: A tensor of the dtype and on the device of the keys.

    Attributes:
        length: How many places it holds.
    """

    def __init__(self, decoder: CausalDecoder, batch: int, places: int, like: Tensor) -> None:
        shape = (len(decoder.layers), 2, batch, decoder.heads, places, decoder.head_dim)
        self.pairs = like.new_empty(shape)
        self.length = 0

    def update(self, keys: Tensor, values: Tensor, layer: int, **_: Any) -> tuple[Tensor, Tensor]:
        """Adds keys and values (B, M, S, d) of a layer, and returns all: transformers' contract."""
        end = self.length + keys.shape[2]
        held = self.pairs[layer, :, :, :, :end].unbind()
        for pairs, new in zip(held, (keys, values), strict=True):
            pairs[:, :, self.length :] = new
        return held[0], held[1]


def _llama_layers(channels: int, layers: int, heads: int) -> nn.ModuleList:
    """Makes the layers of a Llama with new weights, of variance 1 / inputs.

    Those that write to h are as much smaller as there are more of them, so that their sum is not.
    """
    try:
        from transformers import LlamaConfig
        from transformers.models.llama.modeling_llama import LlamaDecoderLayer
    except ModuleNotFoundError as error:
        raise explain_import_error(error, "A transformer") from error
    config = LlamaConfig(
        vocab_size=1,
        bos_token_id=None,
        eos_token_id=None,
        hidden_size=channels,
        intermediate_size=8 * math.ceil(channels / 3),  # 8/3 C: as many weights as one of 4 C
        num_hidden_layers=layers,
        num_attention_heads=heads,
    )
    config._attn_implementation = ATTENTION
    made = nn.ModuleList(LlamaDecoderLayer(config, layer) for layer in range(layers))
    for name, weight in made.named_parameters():
        if weight.ndim > 1:
            last = "o_proj" in name or "down_proj" in name
            std = (weight.shape[1] * (2 * layers if last else 1)) ** -0.5
            nn.init.normal_(weight, 0, std)
    return made


@functools.cache
def _register_attention() -> None:
    """Makes `attend` known to transformers, in each process: layers may come from another one."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention)


def _attention(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **_: Any
) -> tuple[Tensor, None]:
    """Attends in the form that transformers asks for: (B, M, S, d) each, to (B, S, M, d)."""
    x = attend(q, k, v, mask, causal=mask is None and q.shape[2] > 1)
    return x.transpose(1, 2), None
