"""The shapes of bodies, queries and answers; OpenAPI is drawn from them."""
