"""Have we done it? The only room that knows the three records and their order.

Journal line, then history row, then marker, each on disk before the next is begun; so whatever a kill
or a power cut leaves behind, running the same function again completes it, and nothing is done twice.
"""
