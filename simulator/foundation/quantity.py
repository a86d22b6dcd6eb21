"""Types that say what a number measures; inside, every quantity is a plain float in its base unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final


@dataclass(frozen=True)
class Quantity:
    """Marks an annotated float with its base unit, as `units.parse` knows it.

    Parameters
    ----------
    unit
        Base unit, e.g. ``s`` or ``USD/kWh``; the empty unit is a count.
    """

    unit: str


#: Bandwidth below over bandwidth above, which people write as "1:7".
OVERSUBSCRIPTION: Final = "below:above"

Seconds = Annotated[float, Quantity("s")]
Watts = Annotated[float, Quantity("W")]
WattsPerSecond = Annotated[float, Quantity("W/s")]
Joules = Annotated[float, Quantity("J")]
Bytes = Annotated[float, Quantity("bytes")]
BytesPerSecond = Annotated[float, Quantity("bytes/s")]
Flop = Annotated[float, Quantity("flop")]
FlopPerSecond = Annotated[float, Quantity("flop/s")]
Celsius = Annotated[float, Quantity("C")]
#: A difference of temperatures, never a temperature.
Kelvin = Annotated[float, Quantity("K")]
KelvinPerSecond = Annotated[float, Quantity("K/s")]
JoulesPerKelvin = Annotated[float, Quantity("J/K")]
WattsPerKelvin = Annotated[float, Quantity("W/K")]
Pascals = Annotated[float, Quantity("Pa")]
Metres = Annotated[float, Quantity("m")]
#: Between 0 and 1; `Ratio` may be anything.
Fraction = Annotated[float, Quantity("fraction")]
Ratio = Annotated[float, Quantity("ratio")]
Oversubscription = Annotated[float, Quantity(OVERSUBSCRIPTION)]
Usd = Annotated[float, Quantity("USD")]
UsdPerKwh = Annotated[float, Quantity("USD/kWh")]
UsdPerW = Annotated[float, Quantity("USD/W")]
UsdPerKwMonth = Annotated[float, Quantity("USD/kW-month")]
UsdPerTonne = Annotated[float, Quantity("USD/t")]
UsdPerLitre = Annotated[float, Quantity("USD/litre")]
UsdPerSecond = Annotated[float, Quantity("USD/s")]
Grams = Annotated[float, Quantity("g")]
GramsPerKwh = Annotated[float, Quantity("g/kWh")]
Litres = Annotated[float, Quantity("litres")]
LitresPerKwh = Annotated[float, Quantity("litres/kWh")]
LitresPerSecond = Annotated[float, Quantity("litres/s")]
PerSecond = Annotated[float, Quantity("1/s")]
GpuSeconds = Annotated[float, Quantity("gpu-s")]
Tokens = Annotated[float, Quantity("")]
Count = Annotated[int, Quantity("")]
