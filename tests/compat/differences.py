"""Every deliberate difference between our public signatures and diffusers' or transformers', with its reason.

Keys are `Class.method(parameter)`, `Class.method` or, for every class, `*.method(parameter)` and `*.method`.
"""

# Parameters that the originals have and we do not.
PARAMETERS: dict[str, str] = {}

# Methods that the originals offer and we do not (yet).
METHODS: dict[str, str] = {}
