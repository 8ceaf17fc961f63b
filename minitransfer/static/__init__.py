"""Part II, static vectors: one vector per word."""
