"""The part of a model that makes of signals bytes, and of bytes signals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from smalti.generation.sampling_request import Words

if TYPE_CHECKING:
    from smalti.generation.model import Model

__all__ = ["Compressing"]


class Compressing:
    """The methods of a `Model` that compress. They need the extra `codec`, imported when called."""

    def compress(
        self,
        x: Any,
        condition: Words | Mapping[str, Words] | None = None,
        *,
        prior: str = "learned",
        any_size: bool = False,
        codebooks: int | None = None,
    ) -> bytes:
        """Encodes signals and codes their tokens to bytes, about as many as −log₂ p says.

        Arguments:
            x: Signals (B, C, *size) or files, as `encode` takes them.
            condition: What they show, one for all or one each. What is not given is left out, or
                found, see `smalti.generation.compression.conditioned`.
            prior: "learned", "unigram" (how often an index comes in training) or "uniform".
            any_size: Whether signals may be of another size than the model was trained on.
            codebooks: How many of Q codebooks to use, see `encode`.

        Raises:
            InputError: If x or the condition does not fit, or the prior cannot code.
        """
        from smalti.generation import compression

        model = cast("Model", self)
        return compression.compress(model, x, condition, prior, any_size, codebooks)

    def decompress(self, content: bytes, name: str | None = None) -> Tensor:
        """Decodes what `compress` gave to signals (B, C, *size).

        Arguments:
            content: The bytes; also of a file that smalti compress wrote.
            name: Which of the files in it; needed where there are several.

        Raises:
            InputError: If they are no such bytes, damaged, or of another model.
        """
        from smalti.generation import compression

        return compression.decompress(cast("Model", self), content, name)
