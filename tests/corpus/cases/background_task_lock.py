"""django-background-tasks 1.2.8: two workers that want one task; an UPDATE with a condition gives it to one."""

REQUIREMENTS = ["Django==5.2.*", "django-background-tasks==1.2.8"]
SETTINGS = {"INSTALLED_APPS": ["background_task"]}
EVIDENCE = "background_task/models.py, Task.lock: unlocked.update(...), and a look at how many rows that changed"
EXPECTED = "safe"
OBSERVED = {"sqlite": "none", "postgresql": "none", "mysql": "none"}

from background_task.models import Task
from corpus_app.models import Effect, effect


def setup():
    Task.objects.new_task("clean").save()


def work(worker):
    task = Task.objects.get()
    locked = task.lock(worker)
    if locked is not None:
        effect("done", locked.locked_at.isoformat())
    return locked


calls = [(work, {"worker": "1"}), (work, {"worker": "2"})]


def check():
    return Effect.objects.count() == 1
