"""Functions with precise types, for the calls of this folder."""

from typing import Generic, TypeVar

T = TypeVar("T")


def buy(product_id: int, *, gift: bool = False) -> bool:
    return gift and product_id > 0


async def buy_in_coroutine(product_id: int) -> str:
    return str(product_id)


def close() -> None: ...


def first(items: list[T]) -> T:
    return items[0]


class Shop(Generic[T]):
    def __init__(self, name: str) -> None:
        self.name = name

    def sell(self, thing: T, /) -> tuple[str, T]:
        return self.name, thing

    async def deliver(self, *things: T) -> list[T]:
        return list(things)


class Till:
    def __call__(self, amount: int) -> float:
        return amount / 100
