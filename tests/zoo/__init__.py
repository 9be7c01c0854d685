"""Real models that nobody here made, from packages on the index: the compiler is judged on them."""
