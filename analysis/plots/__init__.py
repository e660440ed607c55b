"""One figure a module: `compute` gives its table, `draw` draws that table."""
