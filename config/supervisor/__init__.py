"""Runs programs and heals them: start, restart, stop, and nothing left behind. Imports no Django."""
