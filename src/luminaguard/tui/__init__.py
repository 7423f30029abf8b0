"""The terminal UI: open questions at the side, the asked card in full, the run as it goes by.

It decides nothing by itself: it shows what a desk holds and hands the desk a human's answers. The
toolkit is imported here and nowhere else, and only by those who open a screen.
"""

import os

# The toolkit takes orders from the environment: to press keys, to load a driver, to save pictures.
# What a workspace's environment says must not answer for its user.
for _name in [name for name in os.environ if name.startswith("TEXTUAL")]:
    del os.environ[_name]
