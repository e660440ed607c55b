"""The transitions that a run learns from: `ring` keeps and draws them, `gather` makes batches of what was drawn."""
