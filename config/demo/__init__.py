"""The demonstration: MangaAssist through all four modes, as a client would call it, and a table of what that took."""
