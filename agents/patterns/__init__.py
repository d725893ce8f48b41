"""Agents that work through other agents: a supervisor that fans out and joins, and a broker that routes."""
