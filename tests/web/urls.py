from django.urls import path

from tests.web import views

urlpatterns = [
    path("buy/", views.buy),
    path("buy/later/", views.buy_in_coroutine),
    path("api/buy/", views.Buy.as_view()),
    path("whoami/", views.whoami),
    path("meet/", views.meet),
    path("moved/", views.moved),
    path("fail/", views.fail),
    path("stream/", views.stream),
]
