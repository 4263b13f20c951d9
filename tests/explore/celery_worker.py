"""A call and a worker of Celery, side by side: started by a test, with a database and a queue of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import django
from django.conf import settings
from redis import Redis

PREFIX, REDIS = os.environ["CELERY_TEST_PREFIX"], os.environ["CELERY_TEST_REDIS"]

settings.configure(
    INSTALLED_APPS=["tests.project.shop"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["CELERY_TEST_FILE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from django.db import connection, transaction  # noqa: E402 - the settings come first

from tests.project.shop.celery_tasks import app, send_receipt  # noqa: E402
from tests.project.shop.models import Coupon  # noqa: E402

app.conf.update(
    task_always_eager=False,
    broker_url=REDIS,
    result_backend=REDIS,
    broker_transport_options={"global_keyprefix": PREFIX},
    result_backend_transport_options={"global_keyprefix": PREFIX},
    worker_hijack_root_logger=False,
)


def main() -> None:
    """Enqueue a task before the COMMIT, and one on it; print what came of both."""
    with connection.schema_editor() as editor:
        editor.create_model(Coupon)
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", __spec__.name, "worker", "--pool", "solo", "--without-mingle"],
        stdout=sys.stderr,
    )
    try:
        with transaction.atomic():
            order = Coupon.objects.create(code="new")
            early = send_receipt.delay(order.pk, "default")
            error = early.get(timeout=60, propagate=False)  # while the transaction is open
        print(f"delay: {type(error).__name__}")
        results = []
        with transaction.atomic():
            order = Coupon.objects.create(code="new")
            transaction.on_commit(lambda: results.append(send_receipt.delay(order.pk, "default")))
        print(f"delay_on_commit: {results[0].get(timeout=60)}")
    finally:
        worker.terminate()
        worker.wait()
        with Redis.from_url(REDIS) as redis:
            for key in redis.scan_iter(f"{PREFIX}*"):
                redis.delete(key)


if __name__ == "__main__":
    main()
