"""Who proposes: the provider contract and what stands behind it."""
