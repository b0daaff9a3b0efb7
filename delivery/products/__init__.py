"""Knowledge about each product that no manifest states: one module per product."""
