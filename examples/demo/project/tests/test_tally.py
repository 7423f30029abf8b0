import unittest

from tally import total, with_discount


class TallyTest(unittest.TestCase):
    def test_quantity_counts(self):
        self.assertEqual(total([(250, 2), (100, 3)]), 800)

    def test_discount_rounds_down(self):
        self.assertEqual(with_discount(999, 10), 899)


if __name__ == "__main__":
    unittest.main()
