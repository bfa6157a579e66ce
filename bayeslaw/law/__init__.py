"""The law of the loss surface: parameters, formulas, observations, simulation, published laws."""
