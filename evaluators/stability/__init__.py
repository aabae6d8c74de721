"""Does the same method find the same thing twice?"""
