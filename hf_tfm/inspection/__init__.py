"""See inside a model: attention, residual stream, attribution, interventions and costs, as arrays and as one page."""
