"""What the programs of the tests of truth work on."""

from django.db import models


class Post(models.Model):
    likes = models.IntegerField(default=0)
    note = models.TextField(default="")
    history = models.JSONField(default=list)
    token = models.CharField(max_length=64, null=True)
    due = models.DateTimeField(null=True)
    active = models.BooleanField(default=True)


class Reply(models.Model):
    post = models.ForeignKey(Post, on_delete=models.CASCADE)
    amount = models.IntegerField(default=1)


class Job(models.Model):
    owner = models.CharField(max_length=50, null=True)


class Bill(models.Model):
    """Numbered in one of the ways in which bills are; `after`, `before` and `code` hold what follows a primary key."""

    number = models.IntegerField(default=0)
    after = models.BigIntegerField(null=True)
    before = models.BigIntegerField(null=True)
    code = models.CharField(max_length=50, default="")


class Handle(models.Model):
    name = models.CharField(max_length=50, unique=True)
    uses = models.IntegerField(default=0)


class Folder(models.Model):
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True)
    enforced = models.BooleanField(default=True)


class Label(models.Model):
    folders = models.ManyToManyField(Folder)
    name = models.CharField(max_length=50, default="")


class Card(models.Model):
    """Never overdrawn, as the database sees to."""

    balance = models.IntegerField(default=0)

    class Meta:
        constraints = (models.CheckConstraint(condition=models.Q(balance__gte=0), name="card_not_overdrawn"),)


class Profile(models.Model):
    post = models.OneToOneField(Post, on_delete=models.CASCADE)


class Enrolment(models.Model):
    """One of each student in each course; and as a course may be NULL, any number of those."""

    student = models.IntegerField()
    course = models.IntegerField(null=True)
    grade = models.IntegerField(default=0)
    credits = models.IntegerField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["student", "course"], name="one_enrolment"),)


class Document(models.Model):
    """One of a name that is not deleted, on databases that know partial indexes."""

    name = models.CharField(max_length=50)
    deleted = models.BooleanField(default=False)
    guarded = models.BooleanField(default=False)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(deleted=False, guarded=True), name="one_live_document"
            ),
        )


class Parcel(models.Model):
    """What goes through states, has a total that is kept twice, and a time that changes with every save()."""

    status = models.CharField(max_length=50, default="paid")
    note = models.TextField(default="")
    total = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    reminded_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(auto_now=True)


class Piece(models.Model):
    parcel = models.ForeignKey(Parcel, on_delete=models.CASCADE)
    price = models.DecimalField(max_digits=10, decimal_places=2)
