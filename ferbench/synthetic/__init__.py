"""Synthetic faces: drawn by the program from a seed, written in the layouts of real data."""
