"""What goes wrong when models are made and moved, and what the compiler says then."""
