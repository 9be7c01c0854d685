"""The broker that the controller brings along."""
