"""Textual inversion of Stable Diffusion XL pipelines, which have two text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paddle import nn

from ppdiffusers.pipelines.loaders.textual_inversion import Target, TextualInversionLoaderMixin
from ppdiffusers.utils.logging import get_logger

if TYPE_CHECKING:
    from ppdiffusers.transformers.tokenization_utils import PretrainedTokenizer

logger = get_logger(__name__)


class StableDiffusionXLTextualInversionMixin(TextualInversionLoaderMixin):
    """Textual inversion of pipelines with two tokenizers and text encoders.

    As in diffusers, a call changes the first ones, unless `tokenizer` and `text_encoder` are given. Files of the web
    UI with vectors for both ("clip_l" and "clip_g") change both, or the given ones.
    """

    tokenizer: PretrainedTokenizer | None
    tokenizer_2: PretrainedTokenizer | None
    text_encoder: nn.Layer | None
    text_encoder_2: nn.Layer | None

    def unload_textual_inversion(
        self,
        tokens: str | Sequence[str] | None = None,
        tokenizer: PretrainedTokenizer | None = None,
        text_encoder: nn.Layer | None = None,
    ) -> None:
        """Remove learned tokens and their vectors from one text encoder; see `TextualInversionLoaderMixin`."""
        super().unload_textual_inversion(tokens, tokenizer, text_encoder)
        second = getattr(self.tokenizer_2, "added_tokens_decoder", {}).values()
        left = [token.content for token in second if not token.special]
        if left and tokenizer is None:
            logger.warning(
                "The second text encoder still has the tokens %s: pass `tokenizer=pipe.tokenizer_2, "
                "text_encoder=pipe.text_encoder_2` to remove them.",
                ", ".join(left),
            )

    def _inversion_targets(
        self, tokenizer: PretrainedTokenizer | None, text_encoder: nn.Layer | None
    ) -> dict[str, Target]:
        if tokenizer is not None or text_encoder is not None:
            target = self._text_components(tokenizer, text_encoder)
            return {"": target, "clip_g" if target[1] is self.text_encoder_2 else "clip_l": target}
        first, second = (self.tokenizer, self.text_encoder), (self.tokenizer_2, self.text_encoder_2)
        return {"": first, "clip_l": first, "clip_g": second}
