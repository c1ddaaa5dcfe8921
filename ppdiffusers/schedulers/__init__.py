"""Schedulers, one file per sampling method. Names are imported lazily."""
