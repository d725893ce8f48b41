"""The agent contract: values and rules only, standard library only."""
