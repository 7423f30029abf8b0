"""The Diff Card as a widget: `CardView`."""
