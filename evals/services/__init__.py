"""The writes of evals: one module a noun, one function an act."""
