"""The stages of a rollout, each a chain of named checks over a snapshot;
``core.decide`` strings them together.
"""
