"""Dance Diffusion's UNet in Harmonai's audio_diffusion: each level is nested in the previous one, as member 3 of the
outermost and member 7 of every other level."""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.rules import Rename, Rule, Split

_RESNET = {"main.0": "conv_1", "main.1": "group_norm_1", "main.3": "conv_2"}


def rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for the whole network; `config` is that of our UNet1DModel."""
    down, up = config["down_block_types"], config["up_block_types"]
    last = len(up) - 1
    found: list[Rule] = [Rename("timestep_embed.weight", "time_proj.weight", ones=1)]
    for number in range(3):
        found += _resnet(f"net.{number}", f"down_blocks.0.resnets.{number}")
        found += _resnet(f"net.{4 + number}", f"up_blocks.{last}.resnets.{number}", is_last=number == 2)
    for depth in range(1, len(down)):
        source = _inside(depth)
        found += _chain(f"down_blocks.{depth}", source, 1, range(3), "Attn" in down[depth])
        found += _chain(f"up_blocks.{last - depth}", source, 8, range(3), "Attn" in up[last - depth])
        found.append(Rename(f"{source}.0.kernel", f"down_blocks.{depth}.down.kernel"))
        found.append(Rename(f"{source}.14.kernel", f"up_blocks.{last - depth}.up.kernel"))
    innermost = _inside(len(down))
    found += _chain("mid_block", innermost, 1, range(3), attend=True)
    found += _chain("mid_block", innermost, 8, range(3, 6), attend=True)
    found.append(Rename(f"{innermost}.0.kernel", "mid_block.down.kernel"))
    found.append(Rename(f"{innermost}.14.kernel", "mid_block.up.kernel"))
    return tuple(found)


def _inside(depth: int) -> str:
    return "net.3.main" + ".7.main" * (depth - 1)


def _chain(target: str, source: str, first: int, numbers: range, attend: bool) -> list[Rule]:
    """Return the rules for three residual blocks, each followed by an optional attention, from member `first`."""
    found: list[Rule] = []
    for step, number in enumerate(numbers):
        found += _resnet(f"{source}.{first + 2 * step}", f"{target}.resnets.{number}")
        if attend:
            found += _attention(f"{source}.{first + 2 * step + 1}", f"{target}.attentions.{number}")
    return found


def _resnet(source: str, target: str, is_last: bool = False) -> list[Rule]:
    members = _RESNET if is_last else {**_RESNET, "main.4": "group_norm_2"}
    skip = Rename(f"{source}.skip.weight", f"{target}.conv_skip.weight", optional=True)
    return [*(Rename(f"{source}.{a}.*", f"{target}.{b}.*") for a, b in members.items()), skip]


def _attention(source: str, target: str) -> list[Rule]:
    def parts(leaf: str) -> tuple[str, ...]:
        return tuple(f"{target}.{name}.{leaf}" for name in ("query", "key", "value"))

    return [
        Rename(f"{source}.norm.*", f"{target}.group_norm.*"),
        Split(f"{source}.qkv_proj.weight", parts("weight"), ones=1),
        Split(f"{source}.qkv_proj.bias", parts("bias")),
        Rename(f"{source}.out_proj.weight", f"{target}.proj_attn.weight", ones=1),
        Rename(f"{source}.out_proj.bias", f"{target}.proj_attn.bias"),
    ]
