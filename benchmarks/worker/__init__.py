"""The parent's side of one worker process: start it, ask it, log it, end it."""
