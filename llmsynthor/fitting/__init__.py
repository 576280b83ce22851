"""Arrays in, arrays out: weights of candidates, whole counts, values inside bins, maximum entropy."""
