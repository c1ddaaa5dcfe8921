"""Networks: `layers` are the parts, `unets`, `autoencoders` and `transformers` the architectures, one per file."""
