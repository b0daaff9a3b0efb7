"""What is measured of each part of the system, and which faults raise an alert."""
