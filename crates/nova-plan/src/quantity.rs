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
const MEBIBYTE_MILLI: i128 = 1024 * 1024 * 1000;

impl Amount {
    /// Nothing of it.
    pub const ZERO: Self = Self { milli: 0, binary: false };

    /// A whole number of units.
    #[must_use]
    pub const fn whole(units: i64) -> Self {
        Self { milli: units as i128 * 1000, binary: false }
    }

    /// Parses `500m`, `1.5`, `8Gi`, `2e3`. Fractions of a thousandth are rounded up, as Kubernetes does.
    pub fn parse(text: &str) -> Result<Self, InvalidQuantity> {
        let invalid = || InvalidQuantity { text: text.to_owned() };
        if let Some((number, power)) = BINARY.iter().find_map(|(s, p)| Some((text.strip_suffix(s)?, *p))) {
            let scaled = scale(number, 1000 * 1024_i128.pow(power)).ok_or_else(invalid)?;
            return Ok(Self { milli: scaled, binary: true });
        }
        if let Some((number, exponent)) = text.split_once(['e', 'E']).filter(|(_, e)| !e.is_empty()) {
            let exponent: u32 = exponent.parse().ok().filter(|e| *e <= 18).ok_or_else(invalid)?;
            let scaled = scale(number, 1000 * 10_i128.pow(exponent)).ok_or_else(invalid)?;
            return Ok(Self { milli: scaled, binary: false });
        }
        let (number, power) = DECIMAL
            .iter()
            .filter(|(suffix, _)| !suffix.is_empty())
            .find_map(|(s, p)| Some((text.strip_suffix(s)?, *p)))
            .unwrap_or((text, 3));
        let scaled = scale(number, 10_i128.pow(power)).ok_or_else(invalid)?;
        Ok(Self { milli: scaled, binary: false })
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

/// `number` (digits, optionally with a fraction) times `factor`, rounded up; negative numbers are refused.
fn scale(number: &str, factor: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scaled = whole.checked_mul(factor)?;
    if fraction.is_empty() {
        return Some(scaled);
    }
    let denominator = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let part = fraction.parse::<i128>().ok()?.checked_mul(factor)?;
    scaled.checked_add((part + denominator - 1) / denominator)
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
        Self { milli: self.milli + other.milli, binary: self.binary || other.binary }
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
        ] {
            assert_eq!(Amount::parse(given).unwrap().to_string(), canonical, "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for bad in ["", "x", "-1", "1.2.3", "Gi", "1 Gi", "1e99", ".", "0x10"] {
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
