"""What the services share: the hardened pod, edges, storage, placement, quota, publication."""
