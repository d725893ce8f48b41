"""The agent ${name}."""
