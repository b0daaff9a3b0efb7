"""The parts that services share: the hardened pod, network, storage, placement, publication."""
