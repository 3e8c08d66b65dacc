"""The backend of one machine: SQLite files in one folder."""
