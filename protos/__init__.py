"""The wire: what the coordinator and the SDK share, and nothing else."""
