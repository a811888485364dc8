import itertools
import subprocess
import sys

import pytest

from jaxdl.errors import ConfigError
from jaxdl.interop import pairing
from jaxdl.interop.families import FAMILIES, family, family_of
from jaxdl.interop.layout import Ignored, Prefix, Rule, Tied


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_has_a_model_and_a_layout_for_each_of_its_classes(name):
    entry = FAMILIES[name]
    for head, told in itertools.product(entry.classes, (False, True)):
        layout = entry.layout(type(head, (), dict.fromkeys(entry.fields, told))())
        assert all(isinstance(item, Rule | Ignored | Tied | Prefix) for item in layout)
        resolved = pairing.resolve(layout, pairing.prefixes(layout)[0])
        assert not any("{prefix}" in text for item in resolved for text in pairing.several(item.theirs))
    module = entry.model_from({"model_type": name})
    assert type(module).__name__ in entry.classes
    assert name == family_of(module) or name in ("roberta", "deit", "mistral")


def test_an_unknown_family_is_refused():
    with pytest.raises(ConfigError, match=r"'brt' is not known.*bert"):
        family("brt")


def test_the_table_imports_no_model():
    code = "import sys, jaxdl.interop; print([name for name in sys.modules if name.startswith('jaxdl.models')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
