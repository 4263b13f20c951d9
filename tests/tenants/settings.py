import os

from tests import servers

SECRET_KEY = "only for tests"
SHARED_APPS = ["django_tenants", "tests.tenants.shop", "django.contrib.contenttypes"]
TENANT_APPS = ["tests.tenants.shop"]
INSTALLED_APPS = SHARED_APPS
TENANT_MODEL = "shop.Client"
TENANT_DOMAIN_MODEL = "shop.Domain"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
DATABASES = {
    "default": {
        **servers.connection_settings(servers.find_postgresql()),
        "ENGINE": "django_tenants.postgresql_backend",
        "TEST": {"NAME": f"test_aioconcurrent_tenants_{os.getpid()}"},
    }
}
