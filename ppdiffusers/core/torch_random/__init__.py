"""torch's random streams without torch: CPU (Mersenne Twister), CUDA (Philox), and replay of recorded noise."""

from ppdiffusers.core.torch_random.generator import TorchGenerator
from ppdiffusers.core.torch_random.recorded import RecordedNoise

__all__ = ["RecordedNoise", "TorchGenerator"]
