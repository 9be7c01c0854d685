"""Scripts that run in the toolchains ``torch`` and ``keras``: they import nothing of ours."""
