"""The seven questions about a model, and their answers: facts, then sentences, then the next step."""
