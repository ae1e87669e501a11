"""What agents' programs print as their result: one file a program, and one table that says which is whose."""
