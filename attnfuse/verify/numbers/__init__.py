"""Both graphs run on the same inputs and weights, whole and a site at a time, compared with float64."""
