"""What quota does not own: Redis and the price tables."""
