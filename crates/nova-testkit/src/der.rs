//! Gives a certificate a subject with several organisations, which rcgen cannot express. No I/O.
//!
//! Kubernetes reads a user's groups from the organisations of the client certificate. rcgen keeps one value per
//! attribute, so the signed certificate is taken apart, its subject replaced, and the result signed again.

use anyhow::{Context as _, Result};
use rcgen::SigningKey;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const UTF8_STRING: u8 = 0x0c;
const BIT_STRING: u8 = 0x03;
/// Object identifier 2.5.4.3.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
/// Object identifier 2.5.4.10.
const ORGANISATION: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x0a];
/// Version, serial number, algorithm, issuer and validity come before the subject.
const SUBJECT: usize = 5;

/// The same certificate for another subject, signed with `key`. In and out is DER.
pub fn with_subject(
    certificate: &[u8],
    name: &str,
    groups: &[String],
    key: &impl SigningKey,
) -> Result<Vec<u8>> {
    let parts = children(content(certificate)?)?;
    let (body, algorithm) = (parts.first().context("no body")?, parts.get(1).context("no algorithm")?);
    let mut fields: Vec<Vec<u8>> = children(content(body)?)?.into_iter().map(<[u8]>::to_vec).collect();
    *fields.get_mut(SUBJECT).context("no subject")? = subject(name, groups);
    let body = element(SEQUENCE, &fields.concat());
    let mut signature = vec![0];
    signature.extend(key.sign(&body).context("sign a certificate")?);
    Ok(element(SEQUENCE, &[body, algorithm.to_vec(), element(BIT_STRING, &signature)].concat()))
}

fn subject(name: &str, groups: &[String]) -> Vec<u8> {
    let attribute = |kind: [u8; 5], value: &str| {
        let pair = [kind.to_vec(), element(UTF8_STRING, value.as_bytes())].concat();
        element(SET, &element(SEQUENCE, &pair))
    };
    let mut attributes: Vec<Vec<u8>> = groups.iter().map(|group| attribute(ORGANISATION, group)).collect();
    attributes.push(attribute(COMMON_NAME, name));
    element(SEQUENCE, &attributes.concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        // The number of length bytes is at most eight, so it fits the low bits.
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
    }
    out.extend_from_slice(significant);
    out.extend_from_slice(content);
    out
}

/// The length of the header and of the content of the element that `der` begins with.
fn measure(der: &[u8]) -> Result<(usize, usize)> {
    let first = usize::from(*der.get(1).context("truncated certificate")?);
    if first < 0x80 {
        return Ok((2, first));
    }
    let count = first & 0x7f;
    let bytes = der.get(2..2 + count).context("truncated certificate")?;
    Ok((2 + count, bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))))
}

fn content(der: &[u8]) -> Result<&[u8]> {
    let (header, length) = measure(der)?;
    der.get(header..header + length).context("truncated certificate")
}

fn children(mut der: &[u8]) -> Result<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (header, length) = measure(der)?;
        let (child, rest) = der.split_at_checked(header + length).context("truncated certificate")?;
        found.push(child);
        der = rest;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{content, element};

    #[test]
    fn an_element_is_read_back_whatever_its_length() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let text = vec![7; length];
            assert_eq!(content(&element(0x30, &text)).unwrap(), text);
        }
    }
}
