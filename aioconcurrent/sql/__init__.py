"""What SQL texts say: the names in them, and the rows that they read and write."""
