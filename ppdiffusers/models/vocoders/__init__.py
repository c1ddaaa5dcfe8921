"""Networks from mel spectrograms to waveforms."""
