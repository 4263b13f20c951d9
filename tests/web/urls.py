from django.urls import path

from tests.web import answers, views

urlpatterns = [
    path("buy/", views.buy),
    path("buy/later/", views.buy_in_coroutine),
    path("api/buy/", views.Buy.as_view()),
    path("whoami/", views.whoami),
    path("meet/", views.meet),
    path("moved/", views.moved),
    path("fail/", views.fail),
    path("stream/", views.stream),
    *(
        path(f"{view.__name__}/", view)
        for view in (
            *(answers.deposit, answers.deposit_badly, answers.form, answers.made, answers.numbered),
            *(answers.make_and_go, answers.join, answers.logged, answers.missing),
        )
    ),
]
