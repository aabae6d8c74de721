"""Do codes say what labels say?"""
