"""A plan on the machines of a Dask cluster."""
