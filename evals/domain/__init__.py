"""The rules of evals: what is sampled, how an answer is judged, what a mean is compared with. No framework."""
