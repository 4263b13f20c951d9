"""django-guardian 3.5.2: a permission that is given twice at once is there once, and nobody crashes."""

REQUIREMENTS = ["Django==5.2.*", "django-guardian==3.5.2"]
SETTINGS = {
    "INSTALLED_APPS": ["guardian"],
    "AUTHENTICATION_BACKENDS": ["django.contrib.auth.backends.ModelBackend"],
    "SILENCED_SYSTEM_CHECKS": ["guardian.W001"],
}
EVIDENCE = "guardian/managers.py, assign_perm: get_or_create on columns that are unique together"
EXPECTED = "safe"
OBSERVED = {"sqlite": "none", "postgresql": "none", "mysql": "none"}

from django.contrib.auth.models import Group, User
from guardian.models import UserObjectPermission
from guardian.shortcuts import assign_perm


def setup():
    User.objects.create_user("ann")
    Group.objects.create(name="staff")


def give():
    assign_perm("auth.change_group", User.objects.get(username="ann"), Group.objects.get())


calls = [(give, {}), (give, {})]


def check():
    return UserObjectPermission.objects.count() == 1
