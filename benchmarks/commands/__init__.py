"""The commands of lockstep's command line."""
