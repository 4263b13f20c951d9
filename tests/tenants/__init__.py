"""A project with django-tenants, a row policy and a tenant in a context variable."""
