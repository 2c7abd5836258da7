"""Records -> tables. Never runs a model."""
