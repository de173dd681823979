"""A run's life: inputs, runner, checkpoints, ledger, reviews, pictures.

`Runner` advances runs; `Ledger` reads what happened, and needs neither LangGraph nor a model to do so.
"""
