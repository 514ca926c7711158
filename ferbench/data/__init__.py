"""Data: datasets, splits, samplers, views and the loader."""
