"""Writes the tables of the e-commerce job from the Bayesian network they describe.

The network is the one in the LLMSynthor paper (arXiv 2505.14752): age and gender decide the
product category, the category decides the price, and the location decides how the order is paid.
Nothing is simulated. Every share is an integral or a product of probabilities, rounded to 12
decimals in such a way that control tables which share variables agree to the last digit.

Run it with `python configs/ecommerce/make_tables.py`; it writes into the folders beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Shares = NDArray[np.float64]
    Units = NDArray[np.int64]
    Axes = dict[str, tuple[str, ...]]

DECIMALS = 12
WHOLE = 10**DECIMALS
"""A share of 1, in the whole-numbered units that all tables are counted in."""

AGES = ("18-24", "25-34", "35-44", "45-54", "55-64", "65-90")
AGE_EDGES = (18.0, 25.0, 35.0, 45.0, 55.0, 65.0, 91.0)
"""Age `a` in whole years is `[a, a + 1)` of the continuous mixture, so 90 ends at 91."""
AGE_MIXTURE = ((0.50, 24.0, 6.0), (0.45, 38.0, 15.0), (0.15, 55.0, 10.0))
"""Weight, mean and standard deviation of each part; the weights sum to 1.1 and are normalized."""
AGE_GROUPS = (0, 0, 1, 1, 2, 2)
"""For each age bin: young (below 35), middle (35 to 54) or old (55 and above)."""

GENDERS = ("Male", "Female")
GENDER_SHARES = (0.45, 0.55)

CATEGORIES = ("Electronics", "Apparel", "Food&Beverages", "Furniture&Appliances")
CATEGORY_SHARES = (
    ((0.50, 0.25, 0.05, 0.20), (0.20, 0.50, 0.05, 0.25)),  # young: male, female
    ((0.20, 0.10, 0.50, 0.20), (0.10, 0.20, 0.55, 0.15)),  # middle
    ((0.10, 0.10, 0.65, 0.15), (0.10, 0.10, 0.60, 0.20)),  # old
)

PRICES = ("0-100", "100-250", "250-500", "500-1000", "1000-1500", "1500-2000")
PRICE_EDGES = (0.0, 100.0, 250.0, 500.0, 1000.0, 1500.0, 2000.0)
PRICE_NORMALS = ((800.0, 1000.0), (100.0, 500.0), (100.0, 400.0), (200.0, 500.0))
"""Mean and standard deviation for each category, before truncation to 0 to 2,000 dollars."""

LOCATIONS = ("Developed", "Developing")
LOCATION_SHARES = (0.40, 0.60)
PAYMENTS = ("Online", "Cash on delivery")
ONLINE_SHARES = (0.70, 0.40)


def normal_masses(edges: Sequence[float], mean: float, deviation: float) -> Shares:
    """Return the mass of a normal distribution between consecutive `edges`."""
    cumulative: Shares = ndtr((np.asarray(edges) - mean) / deviation)
    return np.diff(cumulative)


def age_shares() -> Shares:
    """Return the share of each age bin: the mixture, cut off at both ends as a whole."""
    parts = [weight * normal_masses(AGE_EDGES, *normal) for weight, *normal in AGE_MIXTURE]
    masses: Shares = np.sum(parts, axis=0)
    return masses / float(masses.sum())


def price_shares() -> Shares:
    """Return the share of each price bin given the category, shape (categories, prices)."""
    rows = [normal_masses(PRICE_EDGES, *normal) for normal in PRICE_NORMALS]
    return np.stack([row / row.sum() for row in rows])


def apportion(shares: Shares, total: int) -> Units:
    """Return whole numbers near `shares * total` that sum to `total` (largest remainders)."""
    exact: Shares = shares / float(shares.sum()) * total
    units: Units = np.floor(exact).astype(np.int64)
    missing = total - int(units.sum())
    units.flat[np.argsort(-(exact - units), axis=None, kind="stable")[:missing]] += 1
    return units


def order_units() -> Units:
    """Return age by gender by category, in units; each gender has its exact share."""
    category_given_age = np.asarray(CATEGORY_SHARES)[list(AGE_GROUPS)]
    joint = age_shares()[:, None, None] * category_given_age
    totals = apportion(np.asarray(GENDER_SHARES), WHOLE)
    columns = [apportion(joint[:, sex], int(total)) for sex, total in enumerate(totals)]
    return np.stack(columns, axis=1)


def split_rows(totals: Units, shares: Shares) -> Units:
    """Return each row total split by that row's shares, so that the rows still sum to it."""
    rows = zip(totals, shares, strict=True)
    return np.stack([apportion(row, int(total)) for total, row in rows])


def write_table(path: Path, axes: Axes, units: Units) -> None:
    """Write one row per cell: a label for each variable, then the share with all its decimals.

    Args:
        path: The CSV file.
        axes: Variable -> its labels, in the order of the array's axes.
        units: The cells, in parts of `WHOLE`.
    """
    path.parent.mkdir(exist_ok=True)
    lines = [",".join([*axes, "share"])]
    for cell in np.ndindex(units.shape):
        whole, rest = divmod(int(units[cell]), WHOLE)
        labels = [axis[code] for axis, code in zip(axes.values(), cell, strict=True)]
        lines.append(",".join([*labels, f"{whole}.{rest:0{DECIMALS}d}"]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Write the control tables to `tables` and the held-out ones to `validate`."""
    folder = Path(__file__).parent
    tables, validate = folder / "tables", folder / "validate"
    age: Axes = {"age": AGES}
    gender: Axes = {"gender": GENDERS}
    location: Axes = {"location": LOCATIONS}
    category: Axes = {"category": CATEGORIES}
    price: Axes = {"price": PRICES}
    payment: Axes = {"payment": PAYMENTS}

    orders = order_units()
    categories = orders.sum(axis=(0, 1))
    prices = split_rows(categories, price_shares())
    locations = apportion(np.asarray(LOCATION_SHARES), WHOLE)
    online = np.asarray(ONLINE_SHARES)
    payments = split_rows(locations, np.stack([online, 1 - online], axis=1))

    write_table(tables / "age.csv", age, orders.sum(axis=(1, 2)))
    write_table(tables / "gender.csv", gender, orders.sum(axis=(0, 2)))
    write_table(tables / "location.csv", location, locations)
    write_table(tables / "category.csv", category, categories)
    write_table(tables / "price.csv", price, prices.sum(axis=0))
    write_table(tables / "payment.csv", payment, payments.sum(axis=0))
    write_table(tables / "age_gender_category.csv", age | gender | category, orders)
    write_table(tables / "category_price.csv", category | price, prices)
    write_table(tables / "location_payment.csv", location | payment, payments)

    age_by_price = split_rows(orders.sum(axis=(1, 2)), orders.sum(axis=1) @ price_shares())
    location_by_category = split_rows(locations, np.stack([categories / WHOLE] * len(LOCATIONS)))
    write_table(validate / "age_price.csv", age | price, age_by_price)
    write_table(validate / "location_category.csv", location | category, location_by_category)


if __name__ == "__main__":
    main()
