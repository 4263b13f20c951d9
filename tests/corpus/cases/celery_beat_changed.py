"""django-celery-beat 2.9.0: two changes of the schedule are noted in one row, whoever is last."""

REQUIREMENTS = ["Django==5.2.*", "django-celery-beat==2.9.0"]
SETTINGS = {"INSTALLED_APPS": ["django_celery_beat"]}
EVIDENCE = "django_celery_beat/models.py, PeriodicTasks.update_changed: update_or_create on the primary key"
EXPECTED = "safe"
OBSERVED = {"sqlite": "none", "postgresql": "none", "mysql": "none"}

from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks


def setup():
    IntervalSchedule.objects.create(every=1, period="days")


def add(name):
    PeriodicTask.objects.create(name=name, task=name, interval=IntervalSchedule.objects.get())


calls = [(add, {"name": "a"}), (add, {"name": "b"})]


def check():
    return PeriodicTasks.objects.count() == 1 and PeriodicTask.objects.count() == 2
