"One run: its configuration, its checkpoints and its record."
