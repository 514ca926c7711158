"""The fair benchmark: run records, the protocol guard, the grid runner, statistics and the report."""
