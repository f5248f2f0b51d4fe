"""OpenAnalyst's agents as tools of other agents."""
