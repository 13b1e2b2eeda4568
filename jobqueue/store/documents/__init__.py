"""Storage: job documents, and statements about them."""
