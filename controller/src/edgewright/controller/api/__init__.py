"""The REST API under /api/v1, and the application that serves it together with the pages."""
