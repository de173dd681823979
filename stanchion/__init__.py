"""Makes LangGraph workflows survive production."""
