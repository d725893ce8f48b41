"""Services, selectors and commands of the agents app on a real PostgreSQL."""
