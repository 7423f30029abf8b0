"""What came out of a guest: its claimed upper layer, checked, compared and made readable."""
