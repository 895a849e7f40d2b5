"""TensorBoard event files: `tensorboard/LEARNER/` in the run directory, one file each.

After a resume, the file is cut where it differs from the metrics log, and what is missing is appended. It is never
replaced, so that a TensorBoard that has it open continues to read it.
"""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.packages import need
from limbeck.storage.atomic import check_file_name, make_folder

from .epoch_log import Row, scalars

FILE_NAME = "events.out.tfevents.limbeck"
"""TensorBoard reads every file with `tfevents` in its name."""
FILE_VERSION = "brain.Event:2"
HEADER = 12
"""Bytes before the content of a record: its length as uint64, and a checksum of that. A checksum follows."""


def open_tracker(folder: Path, project: str, learner: str, options: Mapping[str, Any]) -> EventFile:
    """The event file of a learner in a run directory."""
    return EventFile(folder / "tensorboard" / check_file_name(learner) / FILE_NAME)


class EventFile:
    """One event per epoch, which holds all its values: an epoch is there whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: io.FileIO | None = None

    def restart(self, rows: Sequence[Row]) -> None:
        """Make the file hold exactly these epochs; those that it has already keep their times."""
        make_folder(self.path.parent)
        self._file = io.FileIO(self.path, "a+")  # unbuffered: a kill leaves whole events
        self._file.seek(0)
        right = list(_kept(self._file.readall() or b"", [None, *rows]))
        self._file.truncate(sum(right))
        for row in [None, *rows][len(right) :]:
            self._file.write(_record(row, time.time()))

    def append(self, row: Row) -> None:
        """Append one epoch."""
        if self._file:
            self._file.write(_record(row, time.time()))

    def close(self, *, ended: bool) -> None:
        """Close the file, flushed to the disk."""
        if self._file:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _kept(content: bytes, rows: Sequence[Row | None]) -> Iterator[int]:
    """The sizes of the records that the file begins with and that are those of `rows`."""
    start = 0
    for row in rows:
        end = start + HEADER
        if end > len(content):
            return
        (size,) = struct.unpack_from("<Q", content, start)
        try:
            event: Any = need("tensorboard.compat.proto.event_pb2", "tensorboard", "log")
            wall_time = event.Event.FromString(content[end : end + size]).wall_time
        except Exception:  # damaged
            return
        expected = _record(row, wall_time)
        if content[start : start + len(expected)] != expected:
            return
        yield len(expected)
        start += len(expected)


def _record(row: Row | None, wall_time: float) -> bytes:
    """The record of an epoch, with its length and checksums; None stands for the first one, the version of the file."""
    protocol: Any = need("tensorboard.compat.proto.event_pb2", "tensorboard", "log")
    writer: Any = need("tensorboard.summary.writer.record_writer", "tensorboard", "log")
    event = protocol.Event(wall_time=wall_time)
    if row is None:
        event.file_version = FILE_VERSION
    else:
        event.step = row["epoch"]
        for tag, value in scalars(row).items():
            event.summary.value.add(tag=tag, simple_value=value)
    record = io.BytesIO()
    writer.RecordWriter(record).write(event.SerializeToString(deterministic=True))
    return record.getvalue()
