"""Are states found, up to their names?"""
