"""Replies about the service itself."""

from __future__ import annotations

from jobqueue.api.schemas import fields
from jobqueue.api.schemas.fields import Response, Strict


class IndexResponse(Response):
    """The routes."""

    name = fields.Text()
    routes = fields.Items(fields.Text())


class StatusResponse(Response):
    """The health of the process."""

    status = fields.Text()


class DocumentResponse(Strict):
    """An OpenAPI document."""

    openapi = fields.Text(required=True)
    info = fields.Object(required=True)
    paths = fields.Object(required=True)
    components = fields.Object()
    tags = fields.Items(fields.Object())
    security = fields.Items(fields.Object())
    servers = fields.Items(fields.Object())
