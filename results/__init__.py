"""What came out: records, the store, the results tables and their summary. Imports no framework."""
