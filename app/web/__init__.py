"""The operator's console: static files, served by `app.api.pages`."""
