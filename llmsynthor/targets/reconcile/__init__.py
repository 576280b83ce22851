"""Tables that disagree, made to agree, with an account of every changed cell."""
