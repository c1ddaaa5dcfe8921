"""Training helpers: averaged weights, learning rate schedules, loss weights, seeds."""
