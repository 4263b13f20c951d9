"""What costs money where it is real."""

import urllib.request


def charge(card, amount):
    with urllib.request.urlopen("https://203.0.113.1/charge", timeout=5) as answer:  # of TEST-NET-3: nobody's
        return answer.read()
