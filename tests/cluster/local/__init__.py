"""A real Kubernetes cluster on this machine, built from package registries alone.

The cluster tests and `make demo` need an API server, a kubelet, an ingress and Prometheus,
and must run where no container registry and no download site can be reached:
the programs are compiled from their Go modules or installed by apt, and images are made here.
`provide_cluster` in `find.py` is the door; a cluster of the user's own is taken before this one.
Nothing in this package is imported by canaryd itself, and it uses the standard library alone.
"""
