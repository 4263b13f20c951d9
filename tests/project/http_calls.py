"""Calls that ask a server."""

from __future__ import annotations

from typing import Any

URL = "https://pay.example.org/charges"


def ask_requests(amount: int = 1) -> tuple[int, Any]:
    import requests

    answer = requests.post(URL, json={"amount": amount}, timeout=5)
    return answer.status_code, answer.json()


def ask_httpx(amount: int = 1) -> tuple[int, Any]:
    import httpx

    answer = httpx.post(URL, json={"amount": amount})
    return answer.status_code, answer.json()


async def aask_httpx(amount: int = 1) -> tuple[int, Any]:
    import httpx

    async with httpx.AsyncClient() as client:
        answer = await client.post(URL, json={"amount": amount})
    return answer.status_code, answer.json()
