"""A sweep that adds seeds until its variants are told apart, or cannot be within its budget."""
