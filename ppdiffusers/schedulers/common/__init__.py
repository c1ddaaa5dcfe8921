"""Shared parts of schedulers: noise schedules, timestep spacing, sigmas, prediction types, update equations."""
