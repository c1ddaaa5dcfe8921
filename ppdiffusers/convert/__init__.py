"""Convert weights between frameworks: layouts by the layer that owns a key, names by small tables."""
