"""Forms in which statistical offices publish tables."""
