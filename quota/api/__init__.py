"""How a caller is recognised over HTTP."""
