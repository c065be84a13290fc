"""Other renderers of a triangulated height field, one module each; see `common.Peer` and benchmarks/peers.py."""
