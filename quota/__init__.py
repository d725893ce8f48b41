"""Who may invoke, and how much: tenants, keys, plans, classes, buckets and the ledger."""
