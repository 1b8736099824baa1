"""The Errata service: HTTP, database, queue and worker around a resident model."""
