"""A throwaway control plane on this machine: real programs, no container engine, no kubelet."""
