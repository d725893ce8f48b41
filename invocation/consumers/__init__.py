"""Entry points over WebSocket."""
