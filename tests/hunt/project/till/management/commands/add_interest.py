from django.core.management.base import BaseCommand

from till.models import Account


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("percent", type=int)

    def handle(self, *, percent, **options):
        for account in Account.objects.all():
            account.balance += account.balance * percent // 100
            account.save()
        self.stdout.write("done")
