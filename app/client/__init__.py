"""A small typed client for the service; it imports no model code and starts at once."""

from app.client.client import Errata
from app.client.connection import DEFAULT_URL
from app.client.errors import (
    ClientError,
    Damaged,
    RateLimited,
    Refused,
    ServerAway,
    StillWaiting,
)

__all__ = [
    "DEFAULT_URL",
    "ClientError",
    "Damaged",
    "Errata",
    "RateLimited",
    "Refused",
    "ServerAway",
    "StillWaiting",
]
