"""The writes: one module a noun, one function an act; each owns its transaction."""
