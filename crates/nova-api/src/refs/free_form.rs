//! An object of any shape in a spec. No I/O.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::JsonText;

/// An object of any shape: what stands in it is for another program to judge.
///
/// It is kept as text, with its values counted: ask the counters before a tree is made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FreeForm(JsonText);

impl FreeForm {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values() == 1
    }

    /// The compact JSON.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text()
    }

    /// How many values there are, the object itself included.
    #[must_use]
    pub fn values(&self) -> u32 {
        self.0.values()
    }

    /// How deep they lie in each other: 1 for an empty object, never more than [`DEEPEST`](super::DEEPEST).
    #[must_use]
    pub fn depth(&self) -> u16 {
        self.0.depth()
    }

    /// Items of all lists in it together.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.0.items()
    }

    /// The object as a tree.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.0.to_value()
    }
}

impl Default for FreeForm {
    fn default() -> Self {
        Self(JsonText::empty_map())
    }
}

/// It fails for what would not be read from a text either: too deep, or a key that `serde_json` keeps for itself.
impl TryFrom<Map<String, Value>> for FreeForm {
    type Error = serde_json::Error;

    fn try_from(map: Map<String, Value>) -> Result<Self, Self::Error> {
        Self::deserialize(Value::Object(map))
    }
}

impl<'de> Deserialize<'de> for FreeForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        JsonText::read_map(deserializer).map(Self)
    }
}

impl Serialize for FreeForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for FreeForm {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FreeForm".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "maxProperties": 256,
            "x-kubernetes-preserve-unknown-fields": true,
        })
    }
}
