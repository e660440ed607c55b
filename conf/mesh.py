"""The devices that one run computes on, as a mesh: one axis splits a batch, the other the critic's width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from conf.typed import ConfigError, NotIdentity, Range, Since


@dataclass(frozen=True)
class MeshConfig:
    """How many devices of one machine a run computes on, data x model of them; changes numbers by rounding alone.

    No identity mark, as the kind of GPU is none: a run may go on with another number of devices.
    """

    data: Annotated[int, Range(ge=1, le=10**4), NotIdentity(), Since(1)]
    """The parts that a batch is split into, each for devices of its own; must divide the batch."""
    model: Annotated[int, Range(ge=1, le=10**4), NotIdentity(), Since(1)]
    """The parts that the critic's layers are split into, along their width; must divide model.width."""

    @property
    def devices(self) -> int:
        """The number of devices."""
        return self.data * self.model

    def check(self, width: int, rows: int, accumulate: int) -> None:
        """Refuse a mesh that does not divide the networks and the batch into equal parts.

        Args:
          width: of the critic.
          rows: of a batch.
          accumulate: the parts of a batch whose gradients are computed one after another.
        Raises:
          ConfigError: names the key, its value and what it must divide.
        """
        if width % self.model:
            raise ConfigError(f"mesh.model={self.model}: must divide model.width, which is {width}")
        if rows % accumulate:
            raise ConfigError(f"agent.accumulate={accumulate}: must divide the batch, which has {rows} rows")
        if rows // accumulate % self.data:
            parts = f"a {accumulate}th of the batch" if accumulate > 1 else "the batch"
            raise ConfigError(f"mesh.data={self.data}: must divide {parts}, which has {rows // accumulate} rows")

    def check_devices(self, there: int, processes: int = 1) -> None:
        """Refuse a mesh of more devices than there are, or of fewer than several processes have.

        Args:
          there: devices of all processes.
          processes: how many processes compute together.
        Raises:
          ConfigError: names both numbers.
        """
        if processes > 1 and self.devices != there:
            raise ConfigError(
                f"mesh.data={self.data} mesh.model={self.model}: must be all {there} devices of {processes} processes"
            )
        if self.devices > there:
            raise ConfigError(
                f"mesh.data={self.data} mesh.model={self.model}: needs {self.devices} devices, JAX has {there} here"
            )
