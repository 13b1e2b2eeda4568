"""Storage: connections and the clock of the server."""
