"""Orders over HTTP with Django: a job packs each, and is added only when the order is committed.

gunicorn --workers 2 --threads 4 django_app:app
jobqueue worker django_app:queue
"""

import os
from functools import partial

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from jobqueue import SyncJobQueue

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": os.environ.get("ORDERS", "orders.db"),
                "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 30},
            }
        },
        ROOT_URLCONF=__name__,
        SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "only for this example"),
    )
    django.setup()

queue = SyncJobQueue()  # JOBQUEUE_MONGO_URL, or the embedded MongoDB


@queue.task(queue="orders", attempts=5)
def pack(order: str) -> str:
    return f"packed {order}"


def place(_request: HttpRequest, order: str) -> JsonResponse:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS orders (name TEXT NOT NULL)")
        cursor.execute("INSERT INTO orders VALUES (%s)", [order])
        transaction.on_commit(partial(pack.using(queue).add, order))
    return JsonResponse({"order": order}, status=202)


def show(_request: HttpRequest, order: str) -> JsonResponse:
    jobs = [{"state": job.state, "result": job.result} for job in queue.search({"type": "pack", "data.order": order})]
    return JsonResponse({"jobs": jobs}, status=200 if jobs else 404)


urlpatterns = [path("orders/<str:order>", place), path("jobs/<str:order>", show)]
app = get_wsgi_application()
