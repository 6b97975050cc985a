"""What hosts a backend: the environment of its file, the worker process, and replicas that are processes."""
