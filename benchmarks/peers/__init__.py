"""Other systems under the workloads of Loom, each as its own documentation says it is used.

Where there is a choice, the one that is fastest for the peer is taken.
"""
