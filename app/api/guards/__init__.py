"""What stands between a connection and a route: who may ask, how much, how often, from where."""
