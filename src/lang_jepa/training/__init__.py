"""Training: the engine, the systems, schedules, optimizers, the collapse monitor and checkpoints."""
