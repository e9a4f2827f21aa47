"""Prints the fp32 polynomials of src/numerics/elementary_coefficients.h: Chebyshev fits computed with 50 digits.

exp(r)  = 1 + r + r^2 * P(r)             |r| <= log(2) / 2
tanh(x) = x + x^3 * P(x^2)               |x| <= 0.625
erf(x)  = x + x * P(x^2)                 |x| <= 1
erf(x)  = 1 - Q(x - 2.4375)              1 <= x <= 3.875 (beyond, erf(x) rounds to 1)
"""

import mpmath as mp

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


if __name__ == "__main__":
    show("kExpFloat", exp_rest, -mp.log(2) / 2 * 1.001, mp.log(2) / 2 * 1.001, 5)
    show("kTanhFloat", tanh_rest, 0, mp.mpf("0.391"), 5)
    show("kErfSmallFloat", lambda z: erf_ratio(z) - 1, 0, 1, 6)
    show("kErfcLargeFloat", lambda t: mp.erfc(mp.mpf("2.4375") + t), mp.mpf("-1.4375"), mp.mpf("1.4375"), 13)
