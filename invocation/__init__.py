"""The invoking: modes, jobs, chat, batches and schedules."""
