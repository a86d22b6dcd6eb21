"""Moist air: vapour pressure, humidity and the wet-bulb temperature, vectorised over hours."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

#: Standard pressure at sea level. [Pa] (ICAO standard atmosphere)
SEA_LEVEL_PA: Final = 101325.0
#: Ratio of the molar masses of water and dry air. (ASHRAE Fundamentals 2017, chapter 1)
_MASS_RATIO: Final = 0.621945
_ZERO_C_K: Final = 273.15
#: Widest wet-bulb depression looked for; no weather on Earth reaches it. [K]
_WIDEST_K: Final = 40.0
#: Halvings of that bracket: the answer is exact to about 1 uK.
_HALVINGS: Final = 25


def pressure_pa(elevation_m: ArrayLike) -> FloatArray:
    """Return the pressure of the standard atmosphere at a height above the sea. [Pa]

    Parameters
    ----------
    elevation_m
        Height above mean sea level. [m]

    References
    ----------
    ASHRAE Handbook of Fundamentals 2017, chapter 1, equation 3.

    Examples
    --------
    >>> round(float(pressure_pa(1500.0)))
    84556
    """
    height_m = np.asarray(elevation_m, dtype=float)
    return np.asarray(SEA_LEVEL_PA * (1.0 - 2.25577e-5 * height_m) ** 5.2559)


def saturation_pressure_pa(temperature_c: ArrayLike) -> FloatArray:
    """Return the pressure of saturated vapour, over ice below the triple point. [Pa]

    Parameters
    ----------
    temperature_c
        Air temperature, -100 to 200. [C]

    References
    ----------
    Hyland and Wexler 1983, as in ASHRAE Fundamentals 2017, chapter 1, equations 5 and 6.

    Examples
    --------
    >>> round(float(saturation_pressure_pa(25.0)), 1)
    3169.2
    """
    kelvin = np.asarray(temperature_c, dtype=float) + _ZERO_C_K
    log_kelvin = np.log(kelvin)
    ice = (
        -5.6745359e3 / kelvin
        + 6.3925247
        - 9.677843e-3 * kelvin
        + 6.2215701e-7 * kelvin**2
        + 2.0747825e-9 * kelvin**3
        - 9.484024e-13 * kelvin**4
        + 4.1635019 * log_kelvin
    )
    liquid = (
        -5.8002206e3 / kelvin
        + 1.3914993
        - 4.8640239e-2 * kelvin
        + 4.1764768e-5 * kelvin**2
        - 1.4452093e-8 * kelvin**3
        + 6.5459673 * log_kelvin
    )
    return np.asarray(np.exp(np.where(kelvin <= _ZERO_C_K + 0.01, ice, liquid)))


def relative_humidity_fraction(dry_bulb_c: ArrayLike, dew_point_c: ArrayLike) -> FloatArray:
    """Return vapour pressure over saturation pressure, at most 1.

    Parameters
    ----------
    dry_bulb_c, dew_point_c
        Air temperature, and the temperature at which its vapour would condense. [C]
    """
    share = saturation_pressure_pa(dew_point_c) / saturation_pressure_pa(dry_bulb_c)
    return np.asarray(np.minimum(share, 1.0))


def wet_bulb_c(
    dry_bulb_c: ArrayLike,
    relative_humidity: ArrayLike,
    air_pressure_pa: ArrayLike = SEA_LEVEL_PA,
) -> FloatArray:
    """Return the thermodynamic wet-bulb temperature. [C]

    The energy balance of adiabatic saturation, solved by bisection. Between -0.6 and 0 C
    two solutions exist, one over ice and one over water, and either may be returned.

    Parameters
    ----------
    dry_bulb_c
        Air temperature. [C]
    relative_humidity
        Vapour pressure over saturation pressure, 0 to 1.
    air_pressure_pa
        Air pressure. [Pa]

    Raises
    ------
    ValueError
        If a humidity lies outside 0 to 1; the message gives the first index.

    References
    ----------
    ASHRAE Handbook of Fundamentals 2017, chapter 1, equations 33 and 35.

    Examples
    --------
    >>> round(float(wet_bulb_c(30.0, 0.5)), 2)
    22.0
    """
    dry, humidity, pressure = np.broadcast_arrays(
        np.asarray(dry_bulb_c, dtype=float),
        np.asarray(relative_humidity, dtype=float),
        np.asarray(air_pressure_pa, dtype=float),
    )
    outside = ~((humidity >= 0.0) & (humidity <= 1.0))
    if np.any(outside):
        first = int(np.flatnonzero(outside)[0])
        raise ValueError(f"relative humidity must lie in 0..1; at index {first} it is {humidity.flat[first]}")
    vapour_pa = humidity * saturation_pressure_pa(dry)
    ratio = _MASS_RATIO * vapour_pa / (pressure - vapour_pa)

    low = dry - _WIDEST_K
    high = dry.copy()
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        wetter = _ratio_if_wet_bulb(dry, middle, pressure) > ratio
        high = np.where(wetter, middle, high)
        low = np.where(wetter, low, middle)
    return np.asarray(0.5 * (low + high))


def _ratio_if_wet_bulb(dry_c: FloatArray, wet_c: FloatArray, air_pa: FloatArray) -> FloatArray:
    """Humidity ratio of air at `dry_c` whose wet bulb is `wet_c`. [kg/kg]"""
    saturated_pa = saturation_pressure_pa(wet_c)
    saturated = _MASS_RATIO * saturated_pa / (air_pa - saturated_pa)
    over_water = ((2501.0 - 2.326 * wet_c) * saturated - 1.006 * (dry_c - wet_c)) / (
        2501.0 + 1.86 * dry_c - 4.186 * wet_c
    )
    over_ice = ((2830.0 - 0.24 * wet_c) * saturated - 1.006 * (dry_c - wet_c)) / (
        2830.0 + 1.86 * dry_c - 2.1 * wet_c
    )
    return np.asarray(np.where(wet_c >= 0.0, over_water, over_ice))
