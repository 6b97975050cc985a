"""The machine that lockstep runs on: its processors, its threads' places, and its noise."""
