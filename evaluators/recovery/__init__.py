"""Do codes follow the concepts?"""
