"""Pulls inside a running gateway: asked for by a person, or by the first request for a model that is not here yet."""
