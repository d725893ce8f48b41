"""Composition: settings, servers, processes and the endpoints; nothing below imports it."""
