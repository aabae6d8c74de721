"""Are the directions right?"""
