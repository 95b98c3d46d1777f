//! Amounts as Kubernetes writes them, for tests to add up: not the product's own reading of them. No I/O.

use anyhow::{Context as _, Result, ensure};

/// A quantity in thousandths: `1500` for `1.5`, `1500m` and nothing else. Smaller parts are refused.
pub fn thousandths(text: &str) -> Result<i128> {
    const BINARY: &str = "KMGTPE";
    const DECIMAL: &str = "kMGTPE";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = text.get(digits.len()..).unwrap_or_default();
    let power = |of: &str, letter: &str| of.find(letter).and_then(|at| u32::try_from(at + 1).ok());
    let factor: i128 = match suffix {
        "" => 1000,
        "m" => 1,
        binary if binary.len() == 2 && binary.ends_with('i') => {
            let power = power(BINARY, &binary[..1]).with_context(|| format!("suffix of {text:?}"))?;
            1000 * 1024_i128.pow(power)
        }
        decimal => {
            ensure!(decimal.len() == 1, "suffix of {text:?}");
            let power = power(DECIMAL, decimal).with_context(|| format!("suffix of {text:?}"))?;
            1000 * 1000_i128.pow(power)
        }
    };
    let (whole, parts) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = 10_i128.pow(u32::try_from(parts.len()).context("too many places")?);
    let number: i128 = format!("{whole}{parts}").parse().with_context(|| format!("number of {text:?}"))?;
    let amount = number * factor;
    ensure!(amount % scale == 0, "{text:?} has parts smaller than a thousandth");
    Ok(amount / scale)
}

#[cfg(test)]
mod tests {
    use super::thousandths;

    #[test]
    fn amounts_are_read_as_kubernetes_does() {
        for (text, amount) in [
            ("0", 0),
            ("9", 9_000),
            ("1.5", 1_500),
            ("1500m", 1_500),
            ("4k", 4_000_000),
            ("8Gi", 8 * 1024 * 1024 * 1024 * 1000),
            ("1.5Ki", 1_536_000),
        ] {
            assert_eq!(thousandths(text).ok(), Some(amount), "{text}");
        }
        for text in ["", "x", "1Zi", "1.0001", "1mm", "Gi"] {
            assert!(thousandths(text).is_err(), "{text}");
        }
    }
}
