"""One file for each thing that is not ours: the loop thread, Celery, Redis, Parquet, cron, JSON Schema."""
