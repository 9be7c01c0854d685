"""The controller's database: the one folder that imports SQLModel and SQLAlchemy."""
