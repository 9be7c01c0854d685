"""To other model registries and back; see ``mlflow_registry``, the one file that imports MLflow."""
