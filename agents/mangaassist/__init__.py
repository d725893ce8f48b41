"""The sample agent: a shop assistant over a catalog of real titles."""
