"""Where a version comes from: signed statements about its build, and their check without a controller."""
