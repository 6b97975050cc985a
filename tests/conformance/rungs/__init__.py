"""The rungs: each looks at what was recorded, and says in a line what was found and whether it is right."""
