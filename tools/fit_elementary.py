"""Prints the fp32 polynomials of src/numerics/elementary_coefficients.h: Chebyshev fits computed with 50 digits.

exp(r)  = 1 + r + r^2 * P(r)             |r| <= log(2) / 2
tanh(x) = x + x^3 * P(x^2)               |x| <= 0.625
erf(x)  = erf(c) + d * P(d), d = x - c   in 16 parts of [0, 3.875], each 1/4 wide around its own c, which is chosen
                                         such that erf(c) and the next coefficient are nearly fp32 numbers
erf(x)  = x + x * P(x)                   in the first of them
"""

import mpmath as mp
import numpy as np

from fit_erf import chebyshev_fit, erf_ratio


def show(name, f, low, high, degree):
    coefficients = [mp.mpf(float(mp.nstr(c, 20))) for c in chebyshev_fit(f, mp.mpf(low), mp.mpf(high), degree)]
    worst = max(
        abs(mp.polyval(list(reversed(coefficients)), x) - f(x)) for x in mp.linspace(mp.mpf(low), mp.mpf(high), 2001)
    )
    print(f"constexpr float {name}[] = {{  // error below {mp.nstr(worst, 2)}")
    print("    " + ", ".join(f"{mp.nstr(c, 9)}F" for c in coefficients) + "};")


def exp_rest(r):
    return mp.mpf(1) / 2 + r / 6 if abs(r) < mp.mpf(10) ** -12 else (mp.exp(r) - 1 - r) / r**2


def tanh_rest(z):
    x = mp.sqrt(z)
    return -mp.mpf(1) / 3 + 2 * z / 15 if z < mp.mpf(10) ** -16 else (mp.tanh(x) - x) / x**3


def nearest(value):
    return float(np.float32(float(value)))


def distance(value):
    """Of a number from fp32, in units of the last place."""
    return abs(float(value) - nearest(value)) / float(np.spacing(np.float32(float(value))))


def least_largest(center, start, low, high):
    """The P of degree 4 with start + d * P(d) nearest to erf, in units of its last place: least squares, reweighted."""
    middle, half = (low + high) / 2, (high - low) / 2
    d = middle - center + half * np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    exact = [mp.erf(mp.mpf(center) + mp.mpf(t)) for t in d]
    goal = np.array([float((e - start) / mp.mpf(t)) for e, t in zip(exact, d, strict=True)])
    units = np.abs(d) / np.spacing(np.array([float(e) for e in exact], np.float32))
    powers, weights = np.vander(d / half, 5, increasing=True), np.ones(400)
    for _ in range(60):
        root = np.sqrt(weights) * units
        solution = np.linalg.lstsq(powers * root[:, None], goal * root, rcond=None)[0]
        weights *= np.abs(powers @ solution - goal) * units
        weights /= weights.sum()
    return solution / half ** np.arange(5)


def erf_parts(width=0.25, count=16):
    """Rows: c, erf(c), coefficients of P."""
    slope = chebyshev_fit(lambda z: erf_ratio(z) - 1, mp.mpf(0), mp.mpf(width / 2) ** 2, 2)
    columns = [[0, 0, slope[0], 0, slope[1], 0, slope[2]]]
    for part in range(1, count - 1):
        near = part * width + np.arange(-1024, 1025 if part > 1 else 0) * 2.0**-18
        near = sorted(near, key=lambda c: distance(mp.erf(mp.mpf(c))))[:12]
        ends = ((part - 0.5) * width, (part + 0.5) * width)
        fits = [(c, least_largest(c, mp.erf(mp.mpf(c)), *ends)) for c in near]
        c, fit = min(fits, key=lambda entry: distance(entry[1][0]))
        columns.append([c, mp.erf(mp.mpf(c)), *fit])
    # The last ends where all that follows is cut: there the result is 1.
    end = float(np.nextafter(np.float32((count - 0.5) * width), np.float32(0)))
    columns.append([end, 1, *least_largest(end, 1, (count - 1.5) * width, end)])
    print(f"constexpr float kErfEndFloat = {end!r}F;")
    print(f"alignas(64) constexpr float kErfFloat[7][{count}] = {{")
    for row in zip(*columns, strict=True):
        print("    {" + ", ".join(f"{np.float32(float(c))!s}F" for c in row) + "},")
    print("};")


if __name__ == "__main__":
    show("kExpFloat", exp_rest, -mp.log(2) / 2 * 1.001, mp.log(2) / 2 * 1.001, 5)
    show("kTanhFloat", tanh_rest, 0, mp.mpf("0.391"), 5)
    erf_parts()
