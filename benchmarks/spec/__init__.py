"""What an experiment file may say, and what follows from it alone: shapes, parameters, operations."""
