//! Kubernetes quantities as exact numbers, written back in the API server's canonical form. No I/O.
//!
//! Canonical form matters: what is applied must read back the same, or every look would see drift.
//! Source: `k8s.io/apimachinery/pkg/api/resource`, `Quantity.CanonicalizeBytes`.

use std::{cmp::Ordering, fmt, iter::Sum, ops::Add};

use thiserror::Error;

/// A text that is no quantity.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{text:?} is not a quantity such as 500m, 4 or 8Gi")]
pub struct InvalidQuantity {
    /// What was given.
    pub text: String,
}

/// An amount in thousandths of its unit (millicores, thousandths of a byte or a pod).
#[derive(Debug, Clone, Copy, Default)]
pub struct Amount {
    milli: i128,
    binary: bool,
}

const BINARY: [(&str, u32); 6] = [("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5), ("Ei", 6)];
/// Suffix and power of ten, relative to one thousandth.
const DECIMAL: [(&str, u32); 8] =
    [("m", 0), ("", 3), ("k", 6), ("M", 9), ("G", 12), ("T", 15), ("P", 18), ("E", 21)];
/// Suffix and power of ten by which it is smaller than one thousandth. Read, and never written.
const TINY: [(&str, u32); 2] = [("u", 3), ("n", 6)];
/// Bounds of an exponent: the API server's own quantities end at nano and at exa.
const EXPONENTS: std::ops::RangeInclusive<i32> = -9..=18;
const MEBIBYTE_MILLI: i128 = 1024 * 1024 * 1000;

impl Amount {
    /// Nothing of it.
    pub const ZERO: Self = Self { milli: 0, binary: false };

    /// A whole number of units.
    #[must_use]
    pub const fn whole(units: i64) -> Self {
        Self { milli: units as i128 * 1000, binary: false }
    }

    /// More than there can be of anything: what cannot be read counts as this, so that nobody gains by it.
    pub const MOST: Self = Self { milli: i128::MAX / 4, binary: false };

    /// Parses `500m`, `1.5`, `8Gi`, `2e3`, `1500e-3`. Fractions of a thousandth are rounded up, as Kubernetes does.
    pub fn parse(text: &str) -> Result<Self, InvalidQuantity> {
        let invalid = || InvalidQuantity { text: text.to_owned() };
        let amount = |number, factor, divisor, binary| {
            let milli = scale(number, factor, divisor).ok_or_else(invalid)?;
            Ok(Self { milli, binary })
        };
        if let Some((number, power)) = suffixed(text, &BINARY) {
            return amount(number, 1000 * 1024_i128.pow(power), 1, true);
        }
        if let Some((number, exponent)) = text.split_once(['e', 'E']).filter(|(_, e)| !e.is_empty()) {
            let exponent: i32 =
                exponent.parse().ok().filter(|e| EXPONENTS.contains(e)).ok_or_else(invalid)?;
            let power = 10_i128.pow(exponent.unsigned_abs());
            return if exponent < 0 {
                amount(number, 1000, power, false)
            } else {
                amount(number, 1000 * power, 1, false)
            };
        }
        if let Some((number, power)) = suffixed(text, &TINY) {
            return amount(number, 1, 10_i128.pow(power), false);
        }
        let (number, power) = suffixed(text, &DECIMAL).unwrap_or((text, 3));
        amount(number, 10_i128.pow(power), 1, false)
    }

    /// An equal part of `self` for each of `parts`, rounded down to what people like to read
    /// (whole mebibytes where the amount is written in powers of two).
    #[must_use]
    pub fn part_of(self, parts: usize) -> Self {
        let part = self.milli / i128::try_from(parts.max(1)).unwrap_or(i128::MAX);
        let milli = if self.binary && part >= MEBIBYTE_MILLI { part - part % MEBIBYTE_MILLI } else { part };
        Self { milli, ..self }
    }

    /// The part rounded down to whole units, for things that are counted (pods, load balancers).
    #[must_use]
    pub fn floor_to_whole(self) -> Self {
        Self { milli: self.milli - self.milli.rem_euclid(1000), ..self }
    }

    /// So many of it.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        Self { milli: self.milli.saturating_mul(i128::try_from(count).unwrap_or(i128::MAX)), ..self }
    }

    /// `self - other`, at least zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self { milli: (self.milli - other.milli).max(0), binary: self.binary }
    }
}

/// The number before one of the suffixes, and the suffix's power.
fn suffixed<'a>(text: &'a str, suffixes: &[(&str, u32)]) -> Option<(&'a str, u32)> {
    let named = suffixes.iter().filter(|(suffix, _)| !suffix.is_empty());
    named.into_iter().find_map(|(suffix, power)| Some((text.strip_suffix(suffix)?, *power)))
}

/// `number` (digits, optionally with a fraction) times `factor / divisor`, rounded up; negative numbers are refused.
fn scale(number: &str, factor: i128, divisor: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || fraction.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scaled = digits.parse::<i128>().ok()?.checked_mul(factor)?;
    let divisor = divisor * 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    Some(scaled.checked_add(divisor - 1)? / divisor)
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Below 1024 the API server writes powers of two as plain numbers.
        if self.binary && self.milli >= 1024 * 1000 {
            let bytes = (self.milli + 999) / 1000;
            let suffix = BINARY.iter().rev().find(|(_, p)| bytes % 1024_i128.pow(*p) == 0);
            return match suffix {
                Some((suffix, power)) => write!(f, "{}{suffix}", bytes / 1024_i128.pow(*power)),
                None => write!(f, "{bytes}"),
            };
        }
        if self.milli == 0 {
            return f.write_str("0");
        }
        let (suffix, power) =
            DECIMAL.iter().rev().find(|(_, p)| self.milli % 10_i128.pow(*p) == 0).unwrap_or(&DECIMAL[0]);
        write!(f, "{}{suffix}", self.milli / 10_i128.pow(*power))
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.milli == other.milli
    }
}

impl Eq for Amount {}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> Ordering {
        self.milli.cmp(&other.milli)
    }
}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { milli: self.milli.saturating_add(other.milli), binary: self.binary || other.binary }
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_back_in_the_canonical_form_of_the_api_server() {
        for (given, canonical) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1000", "1k"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("1500Mi", "1500Mi"),
            ("8G", "8G"),
            ("2e3", "2k"),
            ("0", "0"),
            ("0Gi", "0"),
            ("12E", "12E"),
            ("0.1m", "1m"),
            ("1500e-3", "1500m"),
            ("15e-1", "1500m"),
            ("7500000u", "7500m"),
            ("1n", "1m"),
            ("1.5e-3", "2m"),
        ] {
            assert_eq!(Amount::parse(given).unwrap().to_string(), canonical, "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for bad in ["", "x", "-1", "1.2.3", "Gi", "1 Gi", "1e99", "1e-99", "u", ".", "0x10"] {
            assert!(Amount::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_never_add_up_to_more_than_the_whole() {
        let whole = Amount::parse("10Gi").unwrap();
        let part = whole.part_of(3);
        assert_eq!(part.to_string(), "3413Mi");
        assert!(part + part + part <= whole);
    }
}
