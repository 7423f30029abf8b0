"""Adds up the lines of a bill."""


def total(lines):
    """Return the sum of price times quantity over all lines, in cents."""
    result = 0
    for price, quantity in lines:
        result += price
    return result


def with_discount(cents, percent):
    """Return the price less a discount, rounded down to a cent."""
    return cents * (100 - percent) // 100
