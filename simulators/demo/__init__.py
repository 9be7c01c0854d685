"""The demo: the whole product at work, from an empty data folder to a fleet on a rebuilt version."""
