"""How the provider learns that a run has ended: by webhook through our receiver, or by asking the vendor."""
