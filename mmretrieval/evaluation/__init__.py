"""How good a model is: retrieval in all directions, what its codes came to stand for, and what it costs."""
