//! Text that is kept for long and looked at rarely, compressed against texts of its kind: objects of one kind are alike.
//! No I/O.

use std::borrow::Cow;
use std::sync::Arc;

use lz4_flex::block::{compress_with_dict, decompress_with_dict};

/// Most bytes of a dictionary.
const DICTIONARY: usize = 16 * 1024;
/// Longest text that becomes part of one, so that no single object fills it.
const ENTRY: usize = 4 * 1024;
/// Shorter texts are kept as they are.
const SHORT: usize = 64;
/// A text that was made less than so many times shorter is unlike those before it.
const ALIKE: usize = 4;

/// Texts that others are compressed against. It grows with the first texts that are unlike those in it, and what was
/// compressed before keeps what it needs.
#[derive(Debug, Clone, Default)]
pub struct Dictionary(Arc<Vec<u8>>);

/// A text, compressed or not.
#[derive(Debug, Clone)]
pub enum Text {
    /// As it is.
    Plain(Box<str>),
    /// Compressed.
    Packed {
        /// What it was compressed against.
        dictionary: Arc<Vec<u8>>,
        /// The compressed bytes.
        bytes: Box<[u8]>,
        /// Bytes of the text.
        length: usize,
    },
}

impl Text {
    /// The text.
    ///
    /// # Errors
    ///
    /// Never, unless memory was damaged.
    pub fn get(&self) -> Result<Cow<'_, str>, String> {
        match self {
            Self::Plain(text) => Ok(Cow::Borrowed(text)),
            Self::Packed { dictionary, bytes, length } => {
                let text = decompress_with_dict(bytes, *length, dictionary).map_err(|e| e.to_string())?;
                String::from_utf8(text).map(Cow::Owned).map_err(|e| e.to_string())
            }
        }
    }

    /// The same text, compressed where that makes it shorter.
    #[must_use]
    pub fn packed(&self, dictionary: &mut Dictionary) -> Self {
        match self {
            Self::Plain(text) if text.len() > SHORT => dictionary.pack(text),
            _ => self.clone(),
        }
    }
}

impl From<Box<str>> for Text {
    fn from(text: Box<str>) -> Self {
        Self::Plain(text)
    }
}

impl Dictionary {
    fn pack(&mut self, text: &str) -> Text {
        let bytes = compress_with_dict(text.as_bytes(), &self.0);
        let is_new = bytes.len() * ALIKE > text.len();
        let packed = if bytes.len() < text.len() {
            Text::Packed { dictionary: self.0.clone(), bytes: bytes.into_boxed_slice(), length: text.len() }
        } else {
            Text::Plain(text.into())
        };
        if is_new && text.len() <= ENTRY && self.0.len() + text.len() <= DICTIONARY {
            self.0 = Arc::new([self.0.as_slice(), text.as_bytes()].concat());
        }
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn app(n: usize) -> Text {
        let text = format!(
            r#"{{"metadata":{{"name":"app-{n}","namespace":"tn-acme-app-shop","uid":"{n:032x}"}},"spec":{{"source":{{
            "kind":"containerImage","containerImage":{{"image":"nginx","tag":"1.{n}","ports":[{{"port":8080}}]}}}}}},
            "status":{{"observedGeneration":{n},"conditions":[{{"type":"Ready","status":"True","reason":"Reconciled"}}]}}}}"#
        );
        Text::Plain(text.into())
    }

    #[test]
    fn texts_of_one_kind_are_kept_in_a_fraction_of_their_length() {
        let mut dictionary = Dictionary::default();
        let all: Vec<(Text, Text)> = (0..100).map(|n| (app(n), app(n).packed(&mut dictionary))).collect();
        let kept: usize = all
            .iter()
            .map(|(_, packed)| match packed {
                Text::Packed { bytes, .. } => bytes.len(),
                Text::Plain(text) => text.len(),
            })
            .sum();
        let whole: usize = all.iter().map(|(plain, _)| plain.get().unwrap().len()).sum();
        assert!(kept * 4 < whole, "{kept} of {whole}");
        for (plain, packed) in &all {
            assert_eq!(plain.get().unwrap(), packed.get().unwrap());
        }
    }

    #[test]
    fn a_dictionary_is_bounded() {
        let mut dictionary = Dictionary::default();
        for n in 0..1000_u64 {
            // Nothing of one is in another.
            let noise: Vec<String> = (0..200).map(|i| ((n * 977 + i * 131).pow(3)).to_string()).collect();
            let _ = Text::Plain(noise.concat().into()).packed(&mut dictionary);
        }
        assert!(dictionary.0.len() <= DICTIONARY);
    }

    proptest! {
        #[test]
        fn every_text_comes_back(texts in prop::collection::vec(".{0,400}|[ab]{0,9000}", 1..20)) {
            let mut dictionary = Dictionary::default();
            for text in texts {
                let plain = Text::Plain(text.clone().into());
                let packed = plain.packed(&mut dictionary);
                prop_assert_eq!(packed.get().unwrap(), text);
            }
        }
    }
}
