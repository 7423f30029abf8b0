"""The way of a call: judge, rehearse, measure, ask, settle, record."""
