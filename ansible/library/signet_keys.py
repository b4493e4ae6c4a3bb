#!/usr/bin/python
"""What is in a key directory of Signet."""

import pathlib
import re

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: signet_keys
short_description: What is in a key directory of Signet
description: Says which files there are, and which epoch is the newest; nothing of what they hold besides.
options:
  path: {description: The directory., type: path, required: true}
author: The Signet authors
"""

RETURN = """
files: {description: "Their paths, sorted.", type: list, returned: always}
epoch: {description: The newest epoch of which all is there; 0 if there is none., type: int, returned: always}
"""


def newest_epoch(file):
    """The greatest number that a line of the file begins with."""
    return max(map(int, re.findall(r"^(\d+) ", file.read_text(), re.MULTILINE)), default=0)


def main():
    module = AnsibleModule(argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True)
    directory = pathlib.Path(module.params["path"])
    files = sorted(file for file in directory.glob("*") if file.is_file()) if directory.is_dir() else []
    # Epoch keys without the master key that wraps them open nothing.
    epoch = max((newest_epoch(file) for file in files if file.suffix == ".epochs" and file.with_suffix(".key") in files), default=0)
    module.exit_json(changed=False, files=[str(file) for file in files], epoch=epoch)


if __name__ == "__main__":
    main()
