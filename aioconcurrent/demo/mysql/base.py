"""Django's backend for MySQL and MariaDB, which takes PyMySQL where mysqlclient is not installed."""

from importlib.util import find_spec

if not find_spec("MySQLdb") and find_spec("pymysql"):
    import pymysql

    pymysql.install_as_MySQLdb()

from django.db.backends.mysql.base import DatabaseWrapper

__all__ = ["DatabaseWrapper"]
