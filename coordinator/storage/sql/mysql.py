"""How MariaDB and MySQL keep what the tables and the migrations declare.

Said once for every table and migration, whatever the database's own defaults are:
rows that can be rolled back, any text, comparison byte by byte, and texts and payloads
that may be longer than 64 KiB. Importing this module is enough.
"""

import re
from typing import Any, Final

from sqlalchemy import LargeBinary, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

_OPTIONS: Final = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
_TEXT_DEFAULT: Final = re.compile(r"(\bLONGTEXT\b(?: NOT NULL)?) DEFAULT ('[^']*')")


@compiles(CreateTable, "mysql", "mariadb")
def _create_table(create: CreateTable, compiler: Any, **options: Any) -> str:
    statement: str = compiler.visit_create_table(create, **options).rstrip()
    is_said = "mysql_engine" in create.element.kwargs  # by a table that is not ours
    return statement if is_said else f"{statement} {_OPTIONS}"


@compiles(Text, "mysql", "mariadb")
def _text(_type: Text, _compiler: Any, **_options: Any) -> str:
    return "LONGTEXT"


@compiles(LargeBinary, "mysql", "mariadb")
def _payload(_type: LargeBinary, _compiler: Any, **_options: Any) -> str:
    return "LONGBLOB"


def with_text_defaults(statement: str) -> str:
    """MySQL takes a text's default value in parentheses alone; MariaDB both ways."""
    return _TEXT_DEFAULT.sub(r"\1 DEFAULT (\2)", statement)


def without_text_defaults(statement: str) -> str:
    """TiDB takes none: rows that exist get an empty text, new ones have to name it."""
    return _TEXT_DEFAULT.sub(r"\1", statement)
