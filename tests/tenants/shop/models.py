from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    auto_create_schema = True


class Domain(DomainMixin):
    pass


class Item(models.Model):
    """In each schema, with rows of its own."""

    name = models.CharField(max_length=50)
    stock = models.IntegerField(default=0)
