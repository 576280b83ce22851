"""Records that can exist, each with a prior: rules, proposals, background, seed sample."""
