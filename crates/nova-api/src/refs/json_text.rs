//! JSON that people have written, kept as text: a tree of it can be a hundred times as large. No I/O.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

/// How deep values may lie in each other. A reader of JSON uses the stack for each level, and `serde_json` itself gives
/// up at 128: what is kept here can be read again wherever it then stands.
pub const DEEPEST: u16 = 100;

/// Beginning of the keys by which `serde_json` hands raw values and numbers to itself. It takes them for its own
/// wherever they come from, and what follows them is read with a depth that is counted anew.
pub const RESERVED_KEY: &str = "$serde_json::private";

/// A JSON value as compact text, and how much there is in it.
///
/// It is read in one pass from any format, and nothing but the text is allocated. A key that stands twice in a map is
/// kept and counted twice; the last one counts when the text is read again, as `serde_json` has it.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonText {
    text: Box<str>,
    values: u32,
    depth: u16,
    items: u32,
}

impl JsonText {
    /// The compact JSON.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many values there are, this one included.
    #[must_use]
    pub fn values(&self) -> u32 {
        self.values
    }

    /// How deep they lie in each other: 1 for a value with none inside, never more than [`DEEPEST`].
    #[must_use]
    pub fn depth(&self) -> u16 {
        self.depth
    }

    /// Items of all lists in it together.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }

    /// The value as a tree. It is dear: ask the counters first.
    #[must_use]
    #[allow(clippy::missing_panics_doc, reason = "it cannot: the text was written by `serde_json`")]
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON, because it was written as such, and not too deep")
    }

    /// Reads a value of any type.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut writer = Writer::default();
        deserializer.deserialize_any(Node { writer: &mut writer, level: 1 })?;
        Ok(writer.finish())
    }

    /// Reads a map.
    pub(super) fn read_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut writer = Writer::default();
        deserializer.deserialize_map(Object(Node { writer: &mut writer, level: 1 }))?;
        Ok(writer.finish())
    }

    /// `{}`.
    pub(super) fn empty_map() -> Self {
        Self { text: "{}".into(), values: 1, depth: 1, items: 0 }
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(deserializer)
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

/// The text so far, and what was counted.
#[derive(Default)]
struct Writer {
    text: Vec<u8>,
    values: u32,
    depth: u16,
    items: u32,
}

impl Writer {
    fn finish(self) -> JsonText {
        let text = String::from_utf8(self.text).expect("UTF-8, because `serde_json` writes nothing else");
        let Self { values, depth, items, .. } = self;
        JsonText { text: text.into_boxed_str(), values, depth, items }
    }

    fn scalar<E: Error>(&mut self, scalar: &(impl Serialize + ?Sized)) -> Result<(), E> {
        serde_json::to_writer(&mut self.text, scalar).map_err(E::custom)
    }
}

/// Writes one value, whatever it is.
struct Node<'w> {
    writer: &'w mut Writer,
    level: u16,
}

impl Node<'_> {
    fn count<E: Error>(&mut self) -> Result<(), E> {
        if self.level > DEEPEST {
            return Err(E::custom(format_args!("it is nested deeper than {DEEPEST} levels")));
        }
        self.writer.values = self.writer.values.saturating_add(1);
        self.writer.depth = self.writer.depth.max(self.level);
        Ok(())
    }

    fn inside(&mut self) -> Node<'_> {
        Node { writer: &mut *self.writer, level: self.level + 1 }
    }

    fn scalar<E: Error>(mut self, scalar: &(impl Serialize + ?Sized)) -> Result<(), E> {
        self.count()?;
        self.writer.scalar(scalar)
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(&value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(&value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(&value)
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<(), E> {
        if let Ok(value) = u64::try_from(value) {
            return self.scalar(&value);
        }
        self.scalar(&i64::try_from(value).map_err(|_| E::custom("JSON number out of range"))?)
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<(), E> {
        self.scalar(&u64::try_from(value).map_err(|_| E::custom("JSON number out of range"))?)
    }

    /// What is no number of JSON's becomes null, as it does in a [`Value`].
    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(&value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.scalar(&())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar(&())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.count()?;
        self.writer.text.push(b'[');
        let mut length: u32 = 0;
        loop {
            let comma = self.writer.text.len();
            if length > 0 {
                self.writer.text.push(b',');
            }
            if items.next_element_seed(self.inside())?.is_none() {
                self.writer.text.truncate(comma);
                break;
            }
            length = length.saturating_add(1);
        }
        self.writer.text.push(b']');
        self.writer.items = self.writer.items.saturating_add(length);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        self.count()?;
        self.writer.text.push(b'{');
        let mut first = true;
        while fields.next_key_seed(Key { writer: self.writer, first })?.is_some() {
            fields.next_value_seed(self.inside())?;
            first = false;
        }
        self.writer.text.push(b'}');
        Ok(())
    }
}

/// A value that has to be a map.
struct Object<'w>(Node<'w>);

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// YAML's way to write nothing at all.
    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        self.0.count()?;
        self.0.writer.text.extend_from_slice(b"{}");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<(), A::Error> {
        self.0.visit_map(fields)
    }
}

/// Writes one key of a map, with what stands before and behind it.
struct Key<'w> {
    writer: &'w mut Writer,
    first: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        if key.starts_with(RESERVED_KEY) {
            return Err(E::custom(format_args!(
                "a key begins with {RESERVED_KEY:?}, which readers of JSON keep for themselves; rename it"
            )));
        }
        if !self.first {
            self.writer.text.push(b',');
        }
        self.writer.scalar(key)?;
        self.writer.text.push(b':');
        Ok(())
    }
}
