"""Prints the polynomials of src/numerics/elementary.cpp for erf: Chebyshev fits computed with 50 digits.

erf(x) = x * P(x^2)                 for 0 <= x <= 1
erf(x) = 1 - Q(x - 2.5)             for 1 <= x <= 4        (beyond, erf(x) rounds to 1 in fp32)
"""

import mpmath as mp

mp.mp.dps = 50


def chebyshev_fit(f, low, high, degree):
    """Coefficients in ascending powers of x of the polynomial that interpolates f at the Chebyshev nodes of [low, high]."""
    n = degree + 1
    middle, half = (high + low) / 2, (high - low) / 2
    nodes = [mp.cos(mp.pi * (k + mp.mpf(1) / 2) / n) for k in range(n)]
    values = [f(middle + half * t) for t in nodes]
    matrix = mp.matrix(n, n)
    for i, t in enumerate(nodes):
        for j in range(n):
            matrix[i, j] = (middle + half * t) ** j
    return list(mp.lu_solve(matrix, mp.matrix(values)))


def show(name, f, low, high, degree):
    coefficients = [float(c) for c in chebyshev_fit(f, mp.mpf(low), mp.mpf(high), degree)]
    worst = max(
        abs(mp.polyval([mp.mpf(c) for c in reversed(coefficients)], x) - f(x))
        for x in mp.linspace(mp.mpf(low), mp.mpf(high), 4001)
    )
    print(f"constexpr double {name}[] = {{  // error below {mp.nstr(worst, 2)}")
    print("    " + ", ".join(f"{c!r}" for c in coefficients) + "};")


def erf_ratio(z):
    return 2 / mp.sqrt(mp.pi) if z == 0 else mp.erf(mp.sqrt(z)) / mp.sqrt(z)


if __name__ == "__main__":
    show("kErfSmall", erf_ratio, 0, 1, 10)
    show("kErfcLarge", lambda t: mp.erfc(t + mp.mpf("2.5")), -1.5, 1.5, 19)
