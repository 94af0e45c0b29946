//! Units of measure, currencies and scales, each with one canonical name.

use super::words::Word;

/// The canonical name of a unit word or sign: "kilometers" and "km" are "km".
pub(super) fn canonical(key: &str) -> Option<&'static str> {
    Word::of(key).unit
}

/// Whether `suffix` may stand directly behind digits: a unit, a scale, an ordinal ending or a half of the day.
pub(super) fn is_suffix(suffix: &str) -> bool {
    let bare = suffix.replace('.', "");
    canonical(&bare).is_some()
        || scale(&bare).is_some()
        || matches!(&*bare, "st" | "nd" | "rd" | "th" | "s" | "x" | "am" | "pm")
}

/// What a scale word or letter multiplies by. "m" is a million only behind a currency, so it is not here.
pub(super) fn scale(key: &str) -> Option<f64> {
    Some(match key {
        "hundred" => 1e2,
        "k" | "thousand" | "grand" => 1e3,
        "lakh" => 1e5,
        "million" | "mn" | "mio" => 1e6,
        "crore" => 1e7,
        "billion" | "bn" => 1e9,
        "trillion" | "tn" => 1e12,
        _ => return None,
    })
}

/// Whether two canonical units can be one: a pound is a weight or a currency.
pub(super) fn compatible(a: &str, b: &str) -> bool {
    a == b || matches!((a, b), ("pound", "lb" | "gbp") | ("lb" | "gbp", "pound"))
}

/// Whether a unit is money, where 1.50 is 1.5.
pub(super) fn is_currency(unit: &str) -> bool {
    matches!(unit, "usd" | "eur" | "gbp" | "jpy" | "inr" | "cny" | "chf" | "cad" | "aud" | "pound" | "bitcoin")
}

/// Whether a word is a unit even without a number beside it; "second", "foot" and "c" are other things too.
pub(super) fn stands_alone(key: &str) -> bool {
    key.len() > 2
        && !matches!(
            key,
            "second" | "foot" | "min" | "bit" | "bits" | "degree" | "degrees" | "percent" | "times" | "dozen"
        )
        || matches!(key, "kg" | "lb" | "km" | "cm" | "mm" | "ml" | "oz" | "ms" | "mb" | "gb" | "tb" | "kb")
}

/// Every word or sign for a unit, with the unit's canonical name.
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.lines().flat_map(|line| {
        let name = line.split_whitespace().next().unwrap_or_default();
        line.split_whitespace().map(move |word| (word, name))
    })
}

/// A unit a line: its canonical name, then the other words for it.
const TABLE: &str = "
% percent percentage pct percents
usd $ dollar dollars bucks
eur € euro euros
gbp £ sterling quid
pound pounds
jpy ¥ yen
inr ₹ rupee rupees
cny yuan rmb
chf franc francs
cad
aud
cent cents
bitcoin bitcoins btc
mg milligram milligrams
g gram grams
kg kilo kilos kilogram kilograms kgs
lb lbs
oz ounce ounces
ton tons tonne tonnes
mm millimeter millimeters millimetre millimetres
cm centimeter centimeters centimetre centimetres
m meter meters metre metres
km kilometer kilometers kilometre kilometres kms
inch inches
ft foot feet
yard yards
mile miles mi
acre acres
hectare hectares
ml milliliter milliliters millilitre millilitres
l liter liters litre litres
gallon gallons gal
tbsp tablespoon tablespoons
tsp teaspoon teaspoons
cup cups
ns nanosecond nanoseconds
us µs microsecond microseconds
ms millisecond milliseconds msec
s sec secs second seconds
min mins minute minutes
h hr hrs hour hours hourly
day days daily
week weeks weekly
month months monthly
year years yr yrs yearly annually annual
decade decades
century centuries
bit bits
byte bytes
kb kilobyte kilobytes kib
mb megabyte megabytes mib
gb gigabyte gigabytes gib gigs
tb terabyte terabytes tib
kbps
mbps
gbps
hz hertz
khz
mhz
ghz
w watt watts
kw kilowatt kilowatts
kwh
v volt volts
amp amps
mah
celsius °c centigrade c
fahrenheit °f f
kelvin
degree degrees °
calorie calories kcal kcals cal
joule joules
mph
km/h kmh kph
m/s
psi
px pixel pixels
rpm
db decibel decibels
times
dozen
";
