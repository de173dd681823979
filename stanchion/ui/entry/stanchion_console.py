"""What Streamlit runs; it stands alone, because Streamlit puts a script's folder before everybody's modules."""

from stanchion.ui.app import main

main()
