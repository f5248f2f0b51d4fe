"""TaskFlow: what a function returns is what the run is asked for; everything else is the operator's."""
