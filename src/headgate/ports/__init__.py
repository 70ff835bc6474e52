"""What the services need from the world, as Protocols; `headgate.bootstrap` wires implementations to them."""
