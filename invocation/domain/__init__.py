"""The rules of invoking: modes, endpoints, states and decisions; no framework is imported here."""
