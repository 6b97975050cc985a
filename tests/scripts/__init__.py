"""Are the scripts that lockstep writes true?"""
