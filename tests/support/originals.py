"""Weights of diffusers' networks under the names of the original repositories.

Each function lists the layers in the order in which the original constructs them, with the names of the original.
It does not use the conversion rules, which it tests.
"""

from __future__ import annotations

import torch
from torch import nn

Tensors = dict[str, torch.Tensor]


def _under(name: str, layer: nn.Module) -> Tensors:
    """Weight and bias of one layer."""
    return {f"{name}.{leaf}": tensor for leaf, tensor in layer.state_dict().items()}


def _projections(attention: nn.Module) -> list[nn.Linear]:
    return [attention.to_q, attention.to_k, attention.to_v, attention.to_out[0]]


def wrapped(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


# -- OpenAI's guided-diffusion, CompVis' UNet ---------------------------------------------------------------------


def guided_diffusion(unet: nn.Module, heads_first: bool = True) -> Tensors:
    inputs, outputs = [[unet.conv_in]], []
    for block in unet.down_blocks:
        attentions = getattr(block, "attentions", [])
        inputs += [[resnet, *attentions[n : n + 1]] for n, resnet in enumerate(block.resnets)]
        inputs += [[sampler] for sampler in block.downsamplers or ()]
    middle = unet.mid_block
    for block in unet.up_blocks:
        attentions = getattr(block, "attentions", [])
        outputs += [[resnet, *attentions[n : n + 1]] for n, resnet in enumerate(block.resnets)]
        outputs[-1] += block.upsamplers or ()
    found = {
        **_under("time_embed.0", unet.time_embedding.linear_1),
        **_under("time_embed.2", unet.time_embedding.linear_2),
        **_under("out.0", unet.conv_norm_out),
        **_under("out.2", unet.conv_out),
    }
    found |= _label_embedding(unet)
    places = {}
    if middle is not None:  # distilled networks have none, or one without attention
        parts = [middle.resnets[0], *(part for part in middle.attentions if part is not None), *middle.resnets[1:]]
        places = {f"middle_block.{n}": part for n, part in enumerate(parts)}
    for kind, entries in (("input_blocks", inputs), ("output_blocks", outputs)):
        places |= {f"{kind}.{n}.{m}": part for n, parts in enumerate(entries) for m, part in enumerate(parts)}
    for name, part in places.items():
        found |= _guided_part(name, part, heads_first)
    return found


def _label_embedding(unet: nn.Module) -> Tensors:
    """The embedding of a class, or the layers for a vector of sizes and a pooled prompt."""
    added = getattr(unet, "add_embedding", None)
    for part in (unet.class_embedding, added):
        if part is not None and hasattr(part, "linear_1"):
            return {**_under("label_emb.0.0", part.linear_1), **_under("label_emb.0.2", part.linear_2)}
    classes = getattr(unet.class_embedding, "weight", None)  # an identity has none
    return {} if classes is None else {"label_emb.weight": classes.detach()}


def _guided_part(name: str, part: nn.Module, heads_first: bool) -> Tensors:
    kind = type(part).__name__
    if kind == "ResnetBlock2D":
        layers = {"in_layers.0": part.norm1, "in_layers.2": part.conv1, "emb_layers.1": part.time_emb_proj}
        layers |= {"out_layers.0": part.norm2, "out_layers.3": part.conv2}
        if part.conv_shortcut is not None:
            layers["skip_connection"] = part.conv_shortcut
        return {key: t for leaf, layer in layers.items() for key, t in _under(f"{name}.{leaf}", layer).items()}
    if kind == "Attention":
        *qkv, out = _projections(part)
        rows = {leaf: [layer.state_dict()[leaf] for layer in qkv] for leaf in ("weight", "bias")}
        joined = {leaf: _joined(tensors, part.heads if heads_first else 1) for leaf, tensors in rows.items()}
        return {
            **_text_projections(name, part),
            **_under(f"{name}.norm", part.group_norm),
            f"{name}.qkv.weight": joined["weight"][:, :, None],
            f"{name}.qkv.bias": joined["bias"],
            f"{name}.proj_out.weight": out.weight.detach()[:, :, None],
            f"{name}.proj_out.bias": out.bias.detach(),
        }
    if kind in ("Conv2d", "Transformer2DModel"):  # a transformer has the same names everywhere
        return _under(name, part)
    return _under(f"{name}.{'op' if kind == 'Downsample2D' else 'conv'}", part.conv)


def _text_projections(name: str, part: nn.Module) -> Tensors:
    """Keys and values of the tokens of a text, in GLIDE and unCLIP."""
    if getattr(part, "add_k_proj", None) is None:
        return {}
    rows = [layer.state_dict() for layer in (part.add_k_proj, part.add_v_proj)]
    return {
        f"{name}.encoder_kv.weight": _joined([row["weight"] for row in rows], part.heads)[:, :, None],
        f"{name}.encoder_kv.bias": _joined([row["bias"] for row in rows], part.heads),
    }


def _joined(parts: list[torch.Tensor], heads: int) -> torch.Tensor:
    """Rows of queries, keys and values; with several heads, the three of each head are adjacent."""
    return torch.cat([part.chunk(heads)[head] for head in range(heads) for part in parts])


def controlnet(network: nn.Module) -> Tensors:
    """The ControlNet of lllyasviel's repository: a UNet's first half, and convolutions that start at zero."""
    inputs: list[list[nn.Module]] = [[network.conv_in]]
    for block in network.down_blocks:
        attentions = getattr(block, "attentions", [])
        inputs += [[resnet, *attentions[n : n + 1]] for n, resnet in enumerate(block.resnets)]
        inputs += [[sampler] for sampler in block.downsamplers or ()]
    middle, hint = network.mid_block, network.controlnet_cond_embedding
    found = {
        **_label_embedding(network),
        **_under("time_embed.0", network.time_embedding.linear_1),
        **_under("time_embed.2", network.time_embedding.linear_2),
        **_under("middle_block_out.0", network.controlnet_mid_block),
    }
    for n, convolution in enumerate(network.controlnet_down_blocks):
        found |= _under(f"zero_convs.{n}.0", convolution)
    for n, convolution in enumerate([hint.conv_in, *hint.blocks, hint.conv_out]):
        found |= _under(f"input_hint_block.{2 * n}", convolution)
    places = {f"input_blocks.{n}.{m}": part for n, parts in enumerate(inputs) for m, part in enumerate(parts)}
    middles = enumerate([middle.resnets[0], *middle.attentions, *middle.resnets[1:]])
    for name, part in (places | {f"middle_block.{n}": part for n, part in middles}).items():
        found |= _guided_part(name, part, heads_first=True)
    return found


# -- OpenCLIP -------------------------------------------------------------------------------------------------------


def open_clip(encoder: nn.Module, projection: torch.Tensor | None = None) -> Tensors:
    """A text encoder of transformers under the names of OpenCLIP; `projection` is [D, P], as it is stored there."""
    text = encoder.text_model
    found = {
        "positional_embedding": text.embeddings.position_embedding.weight.detach(),
        "token_embedding.weight": text.embeddings.token_embedding.weight.detach(),
        "logit_scale": torch.tensor(4.6),
        **_under("ln_final", text.final_layer_norm),
    }
    for n, layer in enumerate(text.encoder.layers):
        found |= _open_clip_block(f"transformer.resblocks.{n}", layer)
    own = getattr(encoder, "text_projection", None)
    if own is not None:
        projection = own.weight.detach().T.contiguous()
    return found if projection is None else {**found, "text_projection": projection}


def _open_clip_block(name: str, layer: nn.Module) -> Tensors:
    attention = layer.self_attn
    parts = [attention.q_proj, attention.k_proj, attention.v_proj]
    return {
        **_under(f"{name}.ln_1", layer.layer_norm1),
        **_under(f"{name}.ln_2", layer.layer_norm2),
        f"{name}.attn.in_proj_weight": torch.cat([part.weight.detach() for part in parts]),
        f"{name}.attn.in_proj_bias": torch.cat([part.bias.detach() for part in parts]),
        **_under(f"{name}.attn.out_proj", attention.out_proj),
        **_under(f"{name}.mlp.c_fc", layer.mlp.fc1),
        **_under(f"{name}.mlp.c_proj", layer.mlp.fc2),
    }


# -- DDPM and the autoencoders of taming-transformers -------------------------------------------------------------


def ddpm(unet: nn.Module) -> Tensors:
    return {
        **_under("temb.dense.0", unet.time_embedding.linear_1),
        **_under("temb.dense.1", unet.time_embedding.linear_2),
        **_under("conv_in", unet.conv_in),
        **_ddpm_levels("down", unet.down_blocks),
        **_ddpm_middle(unet.mid_block),
        **_ddpm_levels("up", list(reversed(unet.up_blocks))),
        **_under("norm_out", unet.conv_norm_out),
        **_under("conv_out", unet.conv_out),
    }


def vq_model(vq: nn.Module) -> Tensors:
    return {**autoencoder(vq), **_under("quantize.embedding", vq.quantize.embedding)}


def autoencoder(vq: nn.Module) -> Tensors:
    found = {**_under("quant_conv", vq.quant_conv), **_under("post_quant_conv", vq.post_quant_conv)}
    for name, part in (("encoder", vq.encoder), ("decoder", vq.decoder)):
        levels = part.down_blocks if name == "encoder" else list(reversed(part.up_blocks))
        found |= _under(f"{name}.conv_in", part.conv_in) | _under(f"{name}.conv_out", part.conv_out)
        found |= _under(f"{name}.norm_out", part.conv_norm_out)
        found |= wrapped(f"{name}.", _ddpm_levels("down" if name == "encoder" else "up", levels))
        found |= wrapped(f"{name}.", _ddpm_middle(part.mid_block))
    return found


def _ddpm_levels(kind: str, levels: nn.ModuleList) -> Tensors:
    found: Tensors = {}
    for level, block in enumerate(levels):
        for n, resnet in enumerate(block.resnets):
            found |= _ddpm_resnet(f"{kind}.{level}.block.{n}", resnet)
        for n, attention in enumerate(getattr(block, "attentions", [])):
            found |= _ddpm_attention(f"{kind}.{level}.attn.{n}", attention)
        samplers = block.downsamplers if kind == "down" else block.upsamplers
        for sampler in samplers or ():
            found |= _under(f"{kind}.{level}.{kind}sample.conv", sampler.conv)
    return found


def _ddpm_middle(block: nn.Module) -> Tensors:
    first, second = block.resnets
    return {
        **_ddpm_resnet("mid.block_1", first),
        **_ddpm_attention("mid.attn_1", block.attentions[0]),
        **_ddpm_resnet("mid.block_2", second),
    }


def _ddpm_resnet(name: str, resnet: nn.Module) -> Tensors:
    layers = {"norm1": resnet.norm1, "conv1": resnet.conv1, "norm2": resnet.norm2, "conv2": resnet.conv2}
    if resnet.time_emb_proj is not None:
        layers["temb_proj"] = resnet.time_emb_proj
    if resnet.conv_shortcut is not None:
        layers["nin_shortcut"] = resnet.conv_shortcut
    return {key: t for leaf, layer in layers.items() for key, t in _under(f"{name}.{leaf}", layer).items()}


def _ddpm_attention(name: str, attention: nn.Module) -> Tensors:
    found = _under(f"{name}.norm", attention.group_norm)
    for leaf, layer in zip(("q", "k", "v", "proj_out"), _projections(attention)):
        found[f"{name}.{leaf}.weight"] = layer.weight.detach()[:, :, None, None]
        found[f"{name}.{leaf}.bias"] = layer.bias.detach()
    return found


# -- NCSN++ -------------------------------------------------------------------------------------------------------


def ncsnpp(unet: nn.Module, pyramids_counted: bool = True, combine: str = "Conv_0") -> Tensors:
    """In the order of the original module list; modules without weights are numbered if `pyramids_counted`."""
    pyramid = [{}] if pyramids_counted else []
    listed: list[Tensors] = [
        {"W": unet.time_proj.weight.detach()},
        unet.time_embedding.linear_1.state_dict(),
        unet.time_embedding.linear_2.state_dict(),
        unet.conv_in.state_dict(),
    ]
    for block in unet.down_blocks:
        for n, resnet in enumerate(block.resnets):
            listed.append(_ncsnpp_resnet(resnet))
            listed += [_ncsnpp_attention(attention) for attention in getattr(block, "attentions", [])[n : n + 1]]
        if block.resnet_down is not None:
            listed += [_ncsnpp_resnet(block.resnet_down), *pyramid, _under(combine, block.skip_conv)]
    middle = unet.mid_block
    listed += [_ncsnpp_resnet(middle.resnets[0]), _ncsnpp_attention(middle.attentions[0])]
    listed.append(_ncsnpp_resnet(middle.resnets[1]))
    for position, block in enumerate(unet.up_blocks):
        listed += [_ncsnpp_resnet(resnet) for resnet in block.resnets]
        listed += [_ncsnpp_attention(block.attentions[0])] if hasattr(block, "attentions") else []
        listed += pyramid if position else []
        if block.resnet_up is not None:
            listed += [block.skip_norm.state_dict(), block.skip_conv.state_dict(), _ncsnpp_resnet(block.resnet_up)]
    listed += [unet.conv_norm_out.state_dict(), unet.conv_out.state_dict()]
    return {f"all_modules.{n}.{name}": tensor for n, part in enumerate(listed) for name, tensor in part.items()}


def _ncsnpp_resnet(resnet: nn.Module) -> Tensors:
    layers = {"GroupNorm_0": resnet.norm1, "Conv_0": resnet.conv1, "Dense_0": resnet.time_emb_proj}
    layers |= {"GroupNorm_1": resnet.norm2, "Conv_1": resnet.conv2}
    if resnet.conv_shortcut is not None:
        layers["Conv_2"] = resnet.conv_shortcut
    return {key: t for leaf, layer in layers.items() for key, t in _under(leaf, layer).items()}


def _ncsnpp_attention(attention: nn.Module) -> Tensors:
    found = _under("GroupNorm_0", attention.group_norm)
    for n, layer in enumerate(_projections(attention)):
        found |= {f"NIN_{n}.W": layer.weight.detach().T.contiguous(), f"NIN_{n}.b": layer.bias.detach()}
    return found


# -- Dance Diffusion ----------------------------------------------------------------------------------------------


def dance_diffusion(unet: nn.Module) -> Tensors:
    found = {"timestep_embed.weight": unet.time_proj.weight.detach()[:, None]}
    outer = [*unet.down_blocks[0].resnets, _dance_level(unet, 1), *unet.up_blocks[-1].resnets]
    for n, part in enumerate(outer):
        found |= wrapped(f"net.{n}.", part if isinstance(part, dict) else _dance_resnet(part))
    return found


def _dance_level(unet: nn.Module, depth: int) -> Tensors:
    """A level and the levels inside it: resampler, three pairs, the next level, three pairs, resampler."""
    innermost = depth == len(unet.down_blocks)
    down = unet.mid_block if innermost else unet.down_blocks[depth]
    up = unet.mid_block if innermost else unet.up_blocks[-1 - depth]
    pairs_down, pairs_up = _dance_pairs(down)[:6], _dance_pairs(up)[-6:]
    inside = {} if innermost else _dance_level(unet, depth + 1)
    parts = [down.down.state_dict(), *pairs_down, inside, *pairs_up, up.up.state_dict()]
    return {f"main.{n}.{name}": tensor for n, part in enumerate(parts) for name, tensor in part.items()}


def _dance_pairs(block: nn.Module) -> list[Tensors]:
    found: list[Tensors] = []
    for n, resnet in enumerate(block.resnets):
        found += [_dance_resnet(resnet), _dance_attention(block.attentions[n]) if hasattr(block, "attentions") else {}]
    return found


def _dance_resnet(resnet: nn.Module) -> Tensors:
    layers = {"main.0": resnet.conv_1, "main.1": resnet.group_norm_1, "main.3": resnet.conv_2}
    if not resnet.is_last:
        layers["main.4"] = resnet.group_norm_2
    if resnet.has_conv_skip:
        layers["skip"] = resnet.conv_skip
    return {key: t for leaf, layer in layers.items() for key, t in _under(leaf, layer).items()}


def _dance_attention(attention: nn.Module) -> Tensors:
    parts = [attention.query, attention.key, attention.value]
    return {
        **_under("norm", attention.group_norm),
        "qkv_proj.weight": torch.cat([part.weight.detach() for part in parts])[:, :, None],
        "qkv_proj.bias": torch.cat([part.bias.detach() for part in parts]),
        "out_proj.weight": attention.proj_attn.weight.detach()[:, :, None],
        "out_proj.bias": attention.proj_attn.bias.detach(),
    }


# -- Karlo ----------------------------------------------------------------------------------------------------------


def karlo(pipeline: nn.Module) -> dict[str, object]:
    """The content of Karlo's files, by their names, from an UnCLIPPipeline of diffusers."""
    prior, proj = pipeline.prior, pipeline.text_proj
    layers = {
        "time_embed.0": prior.time_embedding.linear_1,
        "time_embed.2": prior.time_embedding.linear_2,
        "clip_img_proj": prior.proj_in,
        "text_emb_proj": prior.embedding_proj,
        "text_enc_proj": prior.encoder_hidden_states_proj,
        "final_ln": prior.norm_out,
        "out_proj": prior.proj_to_clip_embeddings,
    }
    found = {key: t for name, layer in layers.items() for key, t in _under(name, layer).items()}
    found |= {"positional_embedding": prior.positional_embedding.detach(), "prd_emb": prior.prd_embedding.detach()}
    for n, block in enumerate(prior.transformer_blocks):
        name, attention = f"transformer.resblocks.{n}", block.attn1
        *qkv, out = _projections(attention)
        for leaf in ("weight", "bias"):
            rows = [layer.state_dict()[leaf] for layer in qkv]
            found[f"{name}.attn.c_qkv.{leaf}"] = _joined(rows, attention.heads)
        found |= {**_under(f"{name}.attn.c_proj", out), **_under(f"{name}.ln_1", block.norm1)}
        found |= {**_under(f"{name}.ln_2", block.norm3), **_under(f"{name}.mlp.c_fc", block.ff.net[0].proj)}
        found |= _under(f"{name}.mlp.c_proj", block.ff.net[2])
    decoder = guided_diffusion(pipeline.decoder)
    decoder |= {
        **_under("text_seq_proj.0", proj.encoder_hidden_states_proj),
        **_under("text_seq_proj.1", proj.text_encoder_hidden_states_norm),
        **_under("clip_tok_proj", proj.clip_extra_context_tokens_proj),
        **_under("text_feat_proj", proj.embedding_proj),
        **_under("clip_emb", proj.clip_image_embeddings_project_to_time_embeddings),
        "cf_param": proj.learned_classifier_free_guidance_embeddings.detach(),
    }
    upscalers = {
        **wrapped("model_first_steps.", guided_diffusion(pipeline.super_res_first)),
        **wrapped("model_last_step.", guided_diffusion(pipeline.super_res_last)),
    }
    return {
        "prior-ckpt-step=01000000-of-01000000.ckpt": {"state_dict": wrapped("model.", found)},
        "decoder-ckpt-step=01000000-of-01000000.ckpt": {"state_dict": wrapped("model.", decoder)},
        "improved-sr-ckpt-step=1.2M.ckpt": {"state_dict": upscalers},
        "ViT-L-14_stats.th": (prior.clip_mean.detach()[0], prior.clip_std.detach()[0]),
    }
