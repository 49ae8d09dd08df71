"""The package of `ray start`."""
