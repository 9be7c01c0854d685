"""Front ends: from what an engineer has to a ``Subject``."""
