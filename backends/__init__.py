"""One file per framework, the contract that they share, and the worker that hosts one of them."""
