"""Things, thing groups and tags, as far as Jobs needs them. Pure."""
