"""A small typed client for the service; it imports no model code and starts at once."""

from app.client.client import DEFAULT_URL, Errata
from app.client.errors import ClientError, RateLimited, Refused, ServerAway, StillWaiting

__all__ = [
    "DEFAULT_URL",
    "ClientError",
    "Errata",
    "RateLimited",
    "Refused",
    "ServerAway",
    "StillWaiting",
]
