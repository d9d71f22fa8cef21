"""Progressive delivery for the Deployments you already have."""

__version__ = "0.1.0"
