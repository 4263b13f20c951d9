"""Pictures of who did what when."""
