"""People and programs that use the controller: their tokens and roles, their sessions, and the audit log."""
