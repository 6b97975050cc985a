"""One command's plan on this machine: rounds of comparisons whose workers take turns."""
