"""The workflows that come with Stanchion: one file each, read top to bottom: types, state, nodes, edges."""
