"""What schedulers share: noise schedules, spacing of timesteps, sigmas, prediction types, update equations."""
