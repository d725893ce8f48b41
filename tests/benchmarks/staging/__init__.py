"""What the benchmarks of durable jobs run on: an installation of their own, load for it, and bare Celery beside it."""
