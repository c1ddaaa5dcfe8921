"""Every deliberate difference between our public signatures and diffusers' or transformers', with its reason.

Keys are `Class.method(parameter)`, or `*.method(parameter)` for every class; `Class.method` for a whole method.
"""

_HUB = "uploading is not supported; the commit of a downloaded model is in its manifest"
_TORCH = "selects a PyTorch implementation that Paddle does not have"
_VISION = "the image encoders accept one image size only and raise an error for others"

# Parameters that the originals have and we do not.
PARAMETERS: dict[str, str] = {
    "*.save_config(push_to_hub)": _HUB,
    "*.save_pretrained(push_to_hub)": _HUB,
    "*.num_parameters(exclude_embeddings)": "counting without embeddings is for parallel training",
    "*.enable_gradient_checkpointing(gradient_checkpointing_func)": _TORCH,
    "*.forward(interpolate_pos_encoding)": _VISION,
    "*.get_image_features(interpolate_pos_encoding)": _VISION,
    "*.get_image_features(output_attentions)": "only the features are returned",
    "*.get_image_features(output_hidden_states)": "only the features are returned",
    "*.get_text_features(output_attentions)": "only the features are returned",
    "*.get_text_features(output_hidden_states)": "only the features are returned",
    "CLIPModel.forward(return_loss)": "the contrastive loss is for training",
    "CLIPModel.forward(output_attentions)": "the outputs of the two encoders contain them",
    "CLIPModel.forward(output_hidden_states)": "the outputs of the two encoders contain them",
    **dict.fromkeys(
        (
            "XLMRobertaModel.__init__(add_pooling_layer)",
            *(f"XLMRobertaModel.forward({name})" for name in ("head_mask", "inputs_embeds", "encoder_hidden_states")),
            *(f"XLMRobertaModel.forward({name})" for name in ("encoder_attention_mask", "past_key_values")),
            *(f"XLMRobertaModel.forward({name})" for name in ("use_cache", "cache_position")),
        ),
        "it encodes prompts of AltDiffusion, without decoding, caches or pruned heads",
    ),
    "DPTForDepthEstimation.forward(head_mask)": "pruned heads are not supported",
    "DPTForDepthEstimation.forward(labels)": "the original raises an error for them, too",
    "*.pad(verbose)": "nothing is printed",
    "*.pad(return_attention_mask)": "the mask is always returned",
    "Transformer2DModel.forward(added_cond_kwargs)": "for networks over patches, which have a separate class",
    "Transformer2DModel.forward(class_labels)": "for networks over patches, which have a separate class",
    "Transformer2DModel.forward(cross_attention_kwargs)": "for exchanged attention processors; there are none here",
    "*.pad(padding_side)": "prompts of CLIP are padded at the end",
    "*.pad(pad_to_multiple_of)": "the length is that of the longest prompt, or max_length",
}

# Parameters whose default differs.
DEFAULTS: dict[str, str] = {
    "EDMDPMSolverMultistepScheduler.set_timesteps(num_inference_steps)": "the original fails without it",
    "SASolverScheduler.set_timesteps(num_inference_steps)": "the original fails without it",
    "DDIMScheduler.set_timesteps(num_inference_steps)": "optional with custom timesteps, which the original lacks",
    "DDIMParallelScheduler.set_timesteps(num_inference_steps)": "optional with custom timesteps, as in DDIMScheduler",
    "*.scale_model_input(timestep)": "optional in all schedulers, as in the base class; an error says if it is needed",
    "FlowMatchEulerDiscreteScheduler.scale_noise(noise)": "the original fails without it",
    "FlowMatchHeunDiscreteScheduler.scale_noise(noise)": "the original fails without it",
    "*.from_config(config)": "required: there is no object without a configuration",
    "*.from_pretrained(pretrained_model_name_or_path)": "required: there is no default model",
    "*.save_pretrained(max_shard_size)": "10GB, the default of diffusers, for models of transformers, too",
    "*.__init__(vocab_file)": "None, since tokenizer_file alone is enough",
    "*.__init__(merges_file)": "None, since tokenizer_file alone is enough",
    "ControlNetModel.set_attention_slice(slice_size)": "optional, as in the UNet",
    "ControlNetUnionModel.set_attention_slice(slice_size)": "optional, as in the UNet",
    "*.__call__(text)": "required: the text to encode",
}

# Methods in MUST_EXIST that a class does not have.
METHODS: dict[str, str] = {
    "KarrasVeScheduler.add_noise": "the original only raises an error; the algorithm uses add_noise_to_input",
    "CLIPModel.get_input_embeddings": "ambiguous for two encoders; each of them has the method",
    "DPTImageProcessor.resize": "part of `preprocess`",
    "DPTFeatureExtractor.resize": "part of `preprocess`",
    "CLIPImageProcessor.resize": "part of `preprocess`",
    "CLIPFeatureExtractor.resize": "part of `preprocess`",
}
