"""Public benchmarks: each set is read once, here, from its published layout."""
