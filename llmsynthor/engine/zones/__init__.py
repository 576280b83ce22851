"""Jobs with zones: how they are cut into chunks, and the making of one and of all."""
