"""An experiment as a program that a user of the framework would write, which needs no lockstep."""
