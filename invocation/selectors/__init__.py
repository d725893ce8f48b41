"""The reads: functions that return querysets or values and change nothing."""
