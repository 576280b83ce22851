"""Who proposes: asking a model, what it costs, prompts and providers."""
