"""Parts of the command line: values, output, sockets, logs, targets, lanes."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from jobqueue import InvalidInputError, JobQueue  # placeholder
