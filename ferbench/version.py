"""The one place that states the version (read by setup.cfg, records and checkpoints)."""

__version__ = "0.1.0"
