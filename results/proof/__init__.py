"""The proof of equal work: the judge, the ladder, the audit, and rows that contradict themselves."""
