"""The rules of quota: values and pure functions, standard library only."""
