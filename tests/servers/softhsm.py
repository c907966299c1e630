"""A real SoftHSM2: a token on disk behind the PKCS#11 interface that hardware modules have."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass

from keys.datakey import KEY_SIZE
from tests.tooling.places import bare_environment
from tests.tooling.tools import TABLE, program

PIN: Final = "7391-user"
_SO_PIN: Final = "2846-officer"


class SoftHsm:
    """Tokens in a folder. The module reads the folder's name from the environment, once for each process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program("softhsm")
        self.module = TABLE["softhsm"].folder / "root/usr/lib/softhsm/libsofthsm2.so"
        (folder / "tokens").mkdir()
        self.config = folder / "softhsm2.conf"
        self.config.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
        self.pin_file = folder / "pin"
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(PIN + "\n")

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs in its environment."""
        return {"SOFTHSM2_CONF": str(self.config)}

    @contextmanager
    def in_this_process(self) -> Iterator[None]:
        """Let this process load the module with these tokens; it looks for them anew."""
        os.environ["SOFTHSM2_CONF"] = str(self.config)
        try:
            pkcs11.lib(str(self.module)).reinitialize()
            yield
        finally:
            del os.environ["SOFTHSM2_CONF"]

    def make_token(self, label: str) -> None:
        """Make a token; the first of a process must be there before it loads the module."""
        command = [
            "--module",
            str(self.module),
            "--init-token",
            "--free",
            "--label",
            label,
            "--pin",
            PIN,
            "--so-pin",
            _SO_PIN,
        ]
        subprocess.run(
            [str(program("softhsm")), *command],
            env=bare_environment(self.folder) | self.variables,
            check=True,
            capture_output=True,
            timeout=30,
        )

    @contextmanager
    def session(self, token: str) -> Iterator[Any]:
        """A session that may make keys. Only while nobody else uses the module: see `keys.kms.pkcs11`."""
        found = pkcs11.lib(str(self.module)).get_token(token_label=token)
        try:
            session = found.open(rw=True, user_pin=PIN)
        except pkcs11.UserAlreadyLoggedIn:
            session = found.open(rw=True)
        try:
            yield session
        finally:
            session.close()

    def make_key(self, token: str, label: str, number: int, **attributes: Any) -> None:
        """Make one version of a key; `attributes` are named as in PKCS#11."""
        template: dict[Attribute, Any] = {
            Attribute.ID: number.to_bytes(1, "big"),
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
        } | {Attribute[name]: value for name, value in attributes.items()}
        with self.session(token) as session:
            if Attribute.VALUE in template:
                fixed = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}
                flags = {Attribute.TOKEN: True, Attribute.ENCRYPT: True, Attribute.DECRYPT: True}
                session.create_object(fixed | flags | {Attribute.LABEL: label} | template)
            else:
                bits = 8 * template.pop(Attribute.VALUE_LEN, KEY_SIZE)
                session.generate_key(KeyType.AES, bits, store=True, label=label, template=template)
