"""What users get back: outcomes and explorations, whether they were looked at, and which orders went wrong."""
