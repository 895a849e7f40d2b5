"""Limbeck."""
