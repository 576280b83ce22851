"""Can any records meet all tables and rules? If not, which clash, by how much, and the ways out."""
