"""A finished run read: reported, evaluated, exported, explained; these four do not know each other."""
