"""The web process: daphne with back-pressure, limits and a way to leave."""
