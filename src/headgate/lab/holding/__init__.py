"""A crowd that is simply there: very many connections that stay open, and ask together."""
