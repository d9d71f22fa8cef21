"""The API server: the only package that imports ``kubernetes`` and ``msgspec``.

Of the official package it takes the transport (``Configuration``,
``ApiClient.call_api``) and nothing else:
its models, ``Watch``, dynamic client, config loaders and elector have the traps W1 to X2 that
``docs/design/20261124-kubernetes-client.md`` lists, each with the place here that avoids it.
"""
