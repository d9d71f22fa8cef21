"""``make demo``: the main job on a real cluster, watched live."""
