"""The loop, schedules, optimizer, health and checkpoints."""
