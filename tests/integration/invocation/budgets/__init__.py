"""Budgets as a tree, tiers, and a tenant's day."""
