"""Replies about the service itself."""

from __future__ import annotations

from jobqueue.api.schemas.fields import Items, Object, Response, Strict, Text


class IndexResponse(Response):
    """The routes."""

    name = Text()
    routes = Items(Text())


class StatusResponse(Response):
    """The health of the process."""

    status = Text()


class DocumentResponse(Strict):
    """An OpenAPI document."""

    openapi = Text(required=True)
    info = Object(required=True)
    paths = Object(required=True)
    components = Object()
    tags = Items(Object())
    security = Items(Object())
    servers = Items(Object())
