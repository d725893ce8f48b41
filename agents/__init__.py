"""What is invoked: the agent contract, registry, skills, model providers and MangaAssist."""
