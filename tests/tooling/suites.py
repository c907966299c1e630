"""Every suite of tests, the files it owns, the tools it needs and the time it may take.

A budget is two to three times what a suite takes on two quiet cores: it ends what hangs, not what a busy machine slows
down. The run as a whole is to take less than 40 minutes there, installing included; `.ci/run` ends it at twice that.
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

    def needs(self, *, full: bool) -> Sequence[str]:
        """The tools of this form."""
        return (*self.tools, *self.full_tools) if full else self.tools


TABLE: Final = (
    Suite("house", ("test_house.py", "docker"), 60, 60, tools=("hadolint", "shellcheck")),
    Suite("gateway", ("gateway",), 240, 600),
    Suite("keylife", ("keylife",), 600, 1200),
    Suite("engine", ("gateway/access", "gateway/engine", "gateway/operations"), 120, 300),
    Suite("matrix", ("matrix",), 180, 300),
    Suite("keys", ("keys",), 150, 600, tools=("openbao", "softhsm", "moto")),
    Suite("kms", ("kms",), 300, 300, tools=("openbao", "softhsm", "moto")),
    Suite("storage", ("storage",), 200, 1800, tools=("strace",)),
    Suite("s3", ("storage/blobs/s3",), 120, 400, tools=("seaweedfs",), full_tools=("minio",)),
    Suite("boto3-s3", ("blackbox/test_s3_backend.py",), 150, 300, tools=("seaweedfs",)),
    Suite("postgres", ("storage/catalogue/postgres",), 240, 600, tools=("postgresql",)),
    Suite("several", ("several",), 360, 1800, tools=("postgresql",)),
    Suite("hostile", ("hostile",), 220, 900),
    Suite("kill", ("faults/test_kill.py",), 240, 1200),
    Suite("canary", ("faults/test_canary.py",), 160, 160, tools=("strace",)),
    Suite("faults", ("faults",), 200, 600),
    Suite("aws-cli-1", ("blackbox/test_aws_cli_1.py",), 90, 300, tools=("aws-cli-1", "seaweedfs")),
    Suite("aws-cli-2", ("blackbox/test_aws_cli_2.py",), 120, 300, tools=("aws-cli-2",)),
    Suite("boto3", ("blackbox/test_boto3.py", "blackbox/test_boto3_transfers.py"), 80, 600),
    Suite("model", ("model",), 150, 1800),
    Suite("api", ("blackbox/api",), 180, 600),
    Suite("rclone", ("blackbox/test_rclone.py",), 60, 300, tools=("rclone",)),
    Suite("restic", ("blackbox/test_restic.py",), 60, 120, tools=("restic",)),
    Suite("s3cmd", ("blackbox/test_s3cmd.py",), 40, 120, tools=("s3cmd",)),
    Suite("s5cmd", ("blackbox/test_s5cmd.py",), 30, 120, tools=("s5cmd",)),
    Suite("minio-py", ("blackbox/test_minio_py.py",), 30, 120, tools=("minio-py",)),
    Suite("pyarrow", ("blackbox/test_pyarrow.py",), 40, 120, tools=("pyarrow",)),
    Suite("obstore", ("blackbox/test_obstore.py",), 30, 120, tools=("obstore",)),
    Suite("s3fs", ("blackbox/test_s3fs.py",), 30, 120, tools=("s3fs",)),
    Suite("opendal", ("blackbox/test_opendal.py",), 30, 120, tools=("opendal",)),
    Suite("javascript", ("blackbox/test_javascript.py",), 40, 120, tools=("javascript",)),
    Suite("duplicity", ("blackbox/test_duplicity.py",), 40, 120, tools=("duplicity", "gpg")),
    Suite("pgbackrest", ("blackbox/test_pgbackrest.py",), 80, 150, tools=("pgbackrest", "postgresql")),
    Suite("docker-registry", ("blackbox/test_docker_registry.py",), 40, 120, tools=("docker-registry",)),
    Suite("recovery", ("blackbox/test_recovery.py",), 200, 900),
    Suite(
        "moving",
        ("gateway/moving", "blackbox/test_moving.py", "faults/test_moving.py"),
        300,
        600,
        tools=("aws-cli-1", "seaweedfs"),
    ),
    Suite("process", ("blackbox/test_process.py",), 60, 120),
    Suite("readme", ("blackbox/test_readme.py",), 60, 120, tools=("aws-cli-1", "aws-cli-2", "rclone")),
)

CHECK_BUDGET_S: Final = 180
CI_LIMIT_S: Final = 80 * 60
MAX_SUM_BY_LIMIT: Final = 1.25
"""The sum of all budgets by that limit: no run uses up more than a few of them."""
