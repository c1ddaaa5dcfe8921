"""The text encoder of AltCLIP: XLM-RoBERTa distilled from CLIP's text encoder (Chen et al., arXiv 2211.06679)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.transformers import PretrainedModel, XLMRobertaConfig, XLMRobertaModel
from ppdiffusers.utils.dummy_inputs import DummyInputs, padded_token_ids


@dataclass
class TransformationModelOutput(BaseOutput):
    """`projection_state` [B, S, project_dim], which the UNet reads, and the outputs of XLM-RoBERTa."""

    projection_state: paddle.Tensor = None
    last_hidden_state: paddle.Tensor = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None


class RobertaSeriesConfig(XLMRobertaConfig):
    """Configuration of XLM-RoBERTa, and `project_dim`, the width of the embeddings that the UNet reads."""

    defaults = {
        **XLMRobertaConfig.defaults,
        "project_dim": 512,
        "pooler_fn": "cls",
        "learn_encoder": False,
        "use_attention_mask": True,
        "has_pre_transformation": False,
    }


class RobertaSeriesModelWithTransformation(PretrainedModel):
    """XLM-RoBERTa and a linear layer.

    With `has_pre_transformation` (AltDiffusion-m18) the input of the last layer is normalised and projected instead of
    its output.
    """

    config_class = RobertaSeriesConfig
    key_mappings = ("old_roberta",)
    ignore_unexpected = (*XLMRobertaModel.ignore_unexpected, r"logit_scale$")
    ignore_missing = (r"^roberta\.pooler\.",)  # no output depends on it

    def __init__(self, config: RobertaSeriesConfig):
        super().__init__(config)
        width = config.hidden_size
        self.roberta = XLMRobertaModel(config)
        self.transformation = nn.Linear(width, config.project_dim)
        self.has_pre_transformation = config.has_pre_transformation
        if self.has_pre_transformation:
            self.transformation_pre = nn.Linear(width, config.project_dim)
            self.pre_LN = nn.LayerNorm(width, epsilon=config.layer_norm_eps)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.roberta.get_input_embeddings()

    def forward(
        self,
        input_ids: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        token_type_ids: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> TransformationModelOutput | tuple:
        """Encode ids [B, S]; `attention_mask` [B, S] is 1 for tokens and 0 for padding."""
        encoded = self.roberta(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_attentions=self._requests(output_attentions, "output_attentions"),
            output_hidden_states=True,
            return_dict=True,
        )
        if self.has_pre_transformation:
            projection = self.transformation_pre(self.pre_LN(encoded.hidden_states[-2]))
        else:
            projection = self.transformation(encoded.last_hidden_state)
        output = TransformationModelOutput(
            projection, encoded.last_hidden_state, encoded.hidden_states, encoded.attentions
        )
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return padded_token_ids(self.config, rng)
