from django.urls import path
from rest_framework.decorators import api_view

from . import views

urlpatterns = [
    path("accounts/<int:account_id>/", views.show),
    path("accounts/<int:account_id>/withdraw/", views.withdraw),
    path("accounts/<int:account_id>/withdraw-safely/", views.withdraw_safely),
    path("accounts/<int:account_id>/deposit/", views.deposit),
    path("accounts/<int:account_id>/adeposit/", views.adeposit),
    path("accounts/<int:account_id>/twice/", views.show_twice),
    path("accounts/<int:account_id>/awithdraw/", views.awithdraw),
    path("own/", api_view(["POST"])(views.withdraw_own)),
    path("codes/<str:code>/redeem/", views.redeem),
    path("codes/<str:code>/redeem-once/", views.redeem_once),
    path("codes/<str:code>/promise/", views.promise),
    path("invoices/", views.write_invoice),
    path("invoices/<int:series_id>/", views.write_invoice_in_series),
]
