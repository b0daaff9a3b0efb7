"""The fraud-detection system as constructs: one module per service, `system.py` connects them."""
