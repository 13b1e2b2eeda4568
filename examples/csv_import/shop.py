"""The database of the shop, in SQLite; it stands for yours.

python shop.py sample FILE ROWS [CATEGORY]    writes a file of deliveries, with a bad row in each hundred
python shop.py category NAME                  adds a category
python shop.py stock                          prints how many rows were received, and the stock
"""

import csv
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS categories (name TEXT PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, category TEXT NOT NULL, quantity INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS received (delivery TEXT, number INTEGER, PRIMARY KEY (delivery, number))",
    "INSERT OR IGNORE INTO categories VALUES ('books'), ('games')",
)


@dataclass
class Row:
    number: int
    sku: str
    category: str
    quantity: int


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """Open the database for one transaction."""
    path = os.environ.get("SHOP_DB", "shop.db")
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            connection.execute(statement)
        yield connection


def receive(delivery: str, rows: list[Row]) -> int:
    """Add rows of a delivery to the stock, all or none, and each once; return how many were new.

    Raises:
        LookupError: the shop has no such category.
    """
    new = 0
    with database() as shop:
        known = {name for (name,) in shop.execute("SELECT name FROM categories")}
        for row in rows:
            if row.category not in known:
                raise LookupError(f"the shop has no category {row.category!r}")
            # The note and the stock are in one transaction: a row that has its note is in the stock already.
            if shop.execute("INSERT OR IGNORE INTO received VALUES (?, ?)", (delivery, row.number)).rowcount:
                shop.execute(
                    "INSERT INTO stock VALUES (?, ?, ?)"
                    " ON CONFLICT (sku) DO UPDATE SET quantity = quantity + excluded.quantity",
                    (row.sku, row.category, row.quantity),
                )
                new += 1
    return new


def stock() -> tuple[int, int]:
    """Return the number of rows received, and the sum of the stock."""
    with database() as shop:
        [(rows,)] = shop.execute("SELECT count(*) FROM received")
        [(quantity,)] = shop.execute("SELECT coalesce(sum(quantity), 0) FROM stock")
    return rows, quantity


def sample(path: str, rows: int, category: str = "books") -> None:
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", "category", "quantity"])
        for number in range(1, rows + 1):
            # A row of a hundred is bad, and some have a line break.
            sku = f"{number % 500}\nsigned" if number % 50 == 0 else str(number % 500)
            writer.writerow([sku, category, "many" if number % 100 == 7 else 1 + number % 9])


def main(command: str, *words: str) -> None:
    if command == "sample":
        sample(words[0], int(words[1]), *words[2:])
    elif command == "category":
        with database() as shop:
            shop.execute("INSERT OR IGNORE INTO categories VALUES (?)", words)
    else:
        rows, quantity = stock()
        print(f"{rows} rows received, {quantity} pieces in stock")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:] or ["stock"])
    except (IndexError, ValueError, TypeError):
        sys.exit(__doc__)
