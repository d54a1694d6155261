"""Inputs that nobody thought of: requests by the OpenAPI document, files and bodies by chance."""
