"""Two-stream training on mmengine's Runner: loops, hooks, checkpoints, exact resume."""
