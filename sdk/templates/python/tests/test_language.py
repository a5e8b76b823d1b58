import unittest

from language import frontend
from pintle.testing import FakeHost


class Files(unittest.TestCase):
    def test_a_file_is_written(self) -> None:
        built = FakeHost().file("local://dockerfile", "Buildfile", "write /a b\n").build(frontend)
        self.assertRegex(built.graph, "mkfile /a")
