"""Figures of this machine: `python -m tests.benchmarks NAME`. Each sets itself up, measures, and leaves nothing behind."""
