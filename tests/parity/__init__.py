"""Replay of reference vectors: the registered algorithms against numbers that other implementations computed."""
