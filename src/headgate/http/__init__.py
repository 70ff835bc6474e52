"""HTTP without business: requests in, answers out."""
