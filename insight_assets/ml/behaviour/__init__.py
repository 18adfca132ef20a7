"""The behaviour encoder: what customers did, read as sequences of events by one network.

Holds tokens, packed batches, the encoder, and what it is pre-trained on. What is made of its vectors and heads belongs
to the capabilities.
"""
