"""The record of everything, hash-chained and signed, that anybody can verify offline."""
