"""The Streamlit console; it comes with the reviews."""
