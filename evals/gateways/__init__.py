"""What evals does not own: Celery."""
