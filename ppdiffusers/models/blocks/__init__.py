"""The parts that architectures are made of."""
