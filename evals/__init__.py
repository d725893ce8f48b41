"""Whether it is still good: sampling, judging, scores and baselines."""
