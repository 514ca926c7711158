"""A look at the grid runner, in minutes, on synthetic faces. It shows nothing about the algorithms."""

base = "tiny_synthetic"
algorithms = {
    "Supervised": dict(type="Supervised"),
    "FixMatch": dict(type="FixMatch", threshold=0.95, search=dict(threshold=[0.8, 0.9, 0.95])),
    "DTM": dict(type="DTM", threshold_only=True, beta=0.97, floor=0.8, search=dict(floor=[0.7, 0.8, 0.9])),
}
budgets = [10]
seeds = [0, 1]
