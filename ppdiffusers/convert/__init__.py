"""From one framework's weights to the other's: layout by the layer that owns a key, names by small tables."""
