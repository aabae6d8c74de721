"""Is the graph among the codes the true one?"""
