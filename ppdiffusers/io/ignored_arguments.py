"""Arguments of `from_pretrained` in other releases that have no effect here, and warnings about unknown ones."""

from __future__ import annotations

from collections.abc import Collection, MutableMapping
from typing import Any

from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# How PyTorch reads a file or distributes weights, ONNX, code from a hub: nothing of this exists here.
_WITHOUT_EFFECT = frozenset(
    (
        *("low_cpu_mem_usage", "device_map", "max_memory", "offload_folder", "offload_state_dict", "disable_mmap"),
        *("provider", "provider_options", "sess_options", "use_onnx", "custom_revision", "trust_remote_code"),
        *("from_diffusers", "from_flax", "from_tf", "mirror", "user_agent", "local_dir", "etag_timeout"),
        *("ignore_mismatched_sizes", "load_connected_pipeline", "attn_implementation", "use_flash_attention_2"),
        *("quantization_config", "dduf_file", "dduf_entries", "use_keep_in_fp32_modules", "_from_auto", "_fast_init"),
    )
)
# A value that asks for what is not done is reported.
_REPORTED = ("ignore_mismatched_sizes", "quantization_config", "use_onnx", "from_flax", "from_tf", "dduf_file")


def drop_ignored(arguments: MutableMapping[str, Any]) -> None:
    """Remove arguments that have no effect; a warning lists those that ask for something unsupported."""
    removed = {name: arguments.pop(name) for name in tuple(arguments) if name in _WITHOUT_EFFECT}
    reported = [f"{name}={value!r}" for name, value in removed.items() if name in _REPORTED and value]
    if reported:
        logger.warning("from_pretrained does not support these arguments and ignores them: %s.", ", ".join(reported))


def drop_unknown(arguments: MutableMapping[str, Any], known: Collection[str], owner: str) -> None:
    """Remove arguments that are not known, with a warning that names them, as diffusers does."""
    unknown = [f"{name}={arguments.pop(name)!r}" for name in tuple(arguments) if name not in known]
    if unknown:
        logger.warning(
            "%s does not accept these arguments and ignores them: %s. It accepts: %s.",
            owner,
            ", ".join(unknown),
            ", ".join(known),
        )
