"""The rules of the product, as pure functions: no I/O, no clock, no framework, no import from our other packages."""
