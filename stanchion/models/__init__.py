"""The one door to a model: providers, versioned prompts, prices, recorded answers.

Import from the modules that hold them: `door`, `providers`, `prompts`, `prices`, `recorded`.
"""
