"""Reading values out of text: layout, dates, money, names, lenient JSON, PDF.

A leaf: it knows nothing of models, guards, nodes or runs, and every one of them may use it.
"""
