"""The one way out: every connection to a server that is not the API server is opened here."""
