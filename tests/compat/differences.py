"""Every deliberate difference between our public signatures and diffusers' or transformers', with its reason.

Keys are `Class.method(parameter)`, or `*.method(parameter)` for every class; `Class.method` for a whole method.
"""

_HUB = "we never upload; the commit of a fetched model stands in its manifest"
_TORCH = "a choice of how PyTorch does it that Paddle does not offer"
_VISION = "the image towers take pictures of their own size only, and say so"

# Parameters that the originals have and we do not.
PARAMETERS: dict[str, str] = {
    "*.save_config(push_to_hub)": _HUB,
    "*.save_pretrained(push_to_hub)": _HUB,
    "*.load_config(pretrained_model_name_or_path)": "called `path` here: it reads one local file",
    "*.load_config(cls)": "a class method here",
    "*.load_config(return_unused_kwargs)": "reads one local file; `from_config` has it",
    "*.load_config(return_commit_hash)": _HUB,
    "*.num_parameters(exclude_embeddings)": "counting without embeddings was a question of parallel training",
    "*.enable_gradient_checkpointing(gradient_checkpointing_func)": _TORCH,
    "*.forward(interpolate_pos_encoding)": _VISION,
    "*.get_image_features(interpolate_pos_encoding)": _VISION,
    "*.get_image_features(output_attentions)": "only the features are returned",
    "*.get_image_features(output_hidden_states)": "only the features are returned",
    "*.get_text_features(output_attentions)": "only the features are returned",
    "*.get_text_features(output_hidden_states)": "only the features are returned",
    "CLIPModel.forward(return_loss)": "the contrastive loss is training's business",
    "CLIPModel.forward(output_attentions)": "the towers' outputs hold them",
    "CLIPModel.forward(output_hidden_states)": "the towers' outputs hold them",
    **dict.fromkeys(
        (
            "XLMRobertaModel.__init__(add_pooling_layer)",
            *(f"XLMRobertaModel.forward({name})" for name in ("head_mask", "inputs_embeds", "encoder_hidden_states")),
            *(f"XLMRobertaModel.forward({name})" for name in ("encoder_attention_mask", "past_key_values")),
            *(f"XLMRobertaModel.forward({name})" for name in ("use_cache", "cache_position")),
        ),
        "it encodes AltDiffusion's prompts; decoding, caches and pruned heads have no use there",
    ),
    "DPTForDepthEstimation.forward(head_mask)": "pruning heads has no use here",
    "DPTForDepthEstimation.forward(labels)": "the original refuses them too: training is not its business",
    "*.pad(verbose)": "nothing is printed",
    "*.pad(return_attention_mask)": "the mask is always there",
    "Transformer2DModel.forward(added_cond_kwargs)": "for networks over patches, which have a class of their own",
    "Transformer2DModel.forward(class_labels)": "for networks over patches, which have a class of their own",
    "Transformer2DModel.forward(cross_attention_kwargs)": "for exchanged attention processors; there are none here",
    "*.pad(padding_side)": "CLIP's texts are padded at their end",
    "*.pad(pad_to_multiple_of)": "widths are the longest text or max_length",
}

# Parameters whose default differs.
DEFAULTS: dict[str, str] = {
    "EDMDPMSolverMultistepScheduler.set_timesteps(num_inference_steps)": "the original fails without it",
    "SASolverScheduler.set_timesteps(num_inference_steps)": "the original fails without it",
    "FlowMatchEulerDiscreteScheduler.scale_noise(noise)": "the original fails without it",
    "FlowMatchHeunDiscreteScheduler.scale_noise(noise)": "the original fails without it",
    "*.from_config(config)": "there is nothing to make an object from without a configuration",
    "*.from_pretrained(pretrained_model_name_or_path)": "there is nothing to load without a name",
    "*.save_pretrained(max_shard_size)": "10GB, diffusers' default, for transformers' models too",
    "*.__init__(vocab_file)": "None, since tokenizer_file alone is enough",
    "*.__init__(merges_file)": "None, since tokenizer_file alone is enough",
    "*.__call__(text)": "there is nothing to encode without a text",
}

# Methods in MUST_EXIST that a class does not have.
METHODS: dict[str, str] = {
    "KarrasVeScheduler.add_noise": "the original's only raises; add_noise_to_input is the algorithm's own",
    "CLIPModel.get_input_embeddings": "two towers: which one's is not said; each tower has its own",
    "DPTImageProcessor.resize": "one step of `preprocess`, not a tool of its own",
    "DPTFeatureExtractor.resize": "one step of `preprocess`, not a tool of its own",
    "CLIPImageProcessor.resize": "one step of `preprocess`, not a tool of its own",
    "CLIPFeatureExtractor.resize": "one step of `preprocess`, not a tool of its own",
}
