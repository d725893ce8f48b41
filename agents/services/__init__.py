"""Acts: what changes rows, and the execution of an agent."""
