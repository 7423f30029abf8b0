"""Reads shell text: every simple command in it, wherever it stands, with its words dequoted."""
