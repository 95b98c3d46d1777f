//! Fields that are read as far as they are needed. No I/O.
//!
//! One that holds something else than it should is skipped instead of failing the whole object, and of a list no more
//! is kept than what is asked of it: who reads the object does not need memory for what others have written into it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Metadata, STUCK, Spec, Status};

/// Longest text that is kept, in bytes: the longest that a kubelet writes of a container's end.
const LONGEST_TEXT: usize = 4096;

/// A field of any type, read as a `T`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Field<T>(T);

impl<T> Deref for Field<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What a `T` makes of a value of each type; what it has no use for is its default.
pub(super) trait Read: Default {
    fn number(_: i64) -> Self {
        Self::default()
    }

    fn text(_: &str) -> Self {
        Self::default()
    }

    /// Any other value without parts, null aside.
    fn scalar() -> Self {
        Self::default()
    }

    fn list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    fn map<'de, A: MapAccess<'de>>(mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl<'de, T: Read> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData)).map(Self)
    }
}

struct Any<T>(PhantomData<T>);

impl<'de, T: Read> Visitor<'de> for Any<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(T::scalar())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        Ok(T::number(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        Ok(i64::try_from(value).map_or_else(|_| T::scalar(), T::number))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(T::scalar())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        Ok(T::text(value))
    }

    fn visit_none<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        T::list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::map(fields)
    }
}

/// A whole number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Number(Option<i64>);

impl Number {
    pub(super) fn or(self, default: i64) -> i64 {
        self.0.unwrap_or(default)
    }
}

impl Read for Number {
    fn number(number: i64) -> Self {
        Self(Some(number))
    }
}

/// A text, cut where it is longer than any that Kubernetes writes.
pub(super) type Text = String;

impl Read for Text {
    fn text(text: &str) -> Self {
        if text.len() <= LONGEST_TEXT {
            return text.to_owned();
        }
        format!("{}…", &text[..text.floor_char_boundary(LONGEST_TEXT)])
    }
}

/// Whether there is anything: a list counts once it has an item.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Exists(bool);

impl Exists {
    pub(super) fn exists(self) -> bool {
        self.0
    }
}

impl Read for Exists {
    fn number(_: i64) -> Self {
        Self(true)
    }

    fn text(_: &str) -> Self {
        Self(true)
    }

    fn scalar() -> Self {
        Self(true)
    }

    fn list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let mut any = false;
        while items.next_element::<IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(Self(any))
    }

    fn map<'de, A: MapAccess<'de>>(mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self(true))
    }
}

/// Structs are read from maps.
macro_rules! read_from_a_map {
    ($($Struct:ty),+) => {$(
        impl Read for $Struct {
            fn map<'de, A: MapAccess<'de>>(fields: A) -> Result<Self, A::Error> {
                Self::deserialize(MapAccessDeserializer::new(fields))
            }
        }
    )+};
}

read_from_a_map!(Metadata, Spec, Status, Condition, Container, State, Waiting, Terminated);

/// A condition of an object.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    r#type: Field<Text>,
    pub(super) status: Field<Text>,
    pub(super) reason: Field<Text>,
    pub(super) message: Field<Text>,
}

/// Types of the conditions that are kept: those that are asked for.
const CONDITIONS: [&str; 6] =
    ["PodScheduled", "Ready", "ReplicaFailure", "Progressing", "Failed", "Complete"];

/// Conditions of an object, the first of each type.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Conditions(Vec<Condition>);

impl Conditions {
    /// The condition of this type, which is one of [`CONDITIONS`].
    pub(super) fn get(&self, of: &str) -> Option<&Condition> {
        debug_assert!(CONDITIONS.contains(&of), "{of} is not kept");
        self.0.iter().find(|condition| condition.r#type.as_str() == of)
    }
}

impl Read for Conditions {
    fn list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let mut kept = Self::default();
        while let Some(Field(condition)) = items.next_element::<Field<Condition>>()? {
            if CONDITIONS.contains(&condition.r#type.as_str()) && kept.get(&condition.r#type).is_none() {
                kept.0.push(condition);
            }
        }
        Ok(kept)
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: Field<Text>,
    state: Field<State>,
    last_state: Field<State>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct State {
    waiting: Field<Waiting>,
    terminated: Field<Terminated>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Waiting {
    reason: Field<Text>,
    message: Field<Text>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    exit_code: Field<Number>,
}

/// A container that waits for what does not come by itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stuck {
    pub(super) name: String,
    pub(super) reason: String,
    pub(super) message: String,
    /// Exit code of its last life.
    pub(super) last_exit: Option<i64>,
}

/// Of a pod's containers, the first that is stuck, and name and exit code of the first that ended badly.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Containers {
    pub(super) stuck: Option<Stuck>,
    pub(super) ended_badly: Option<(String, i64)>,
}

impl Read for Containers {
    fn list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let mut kept = Self::default();
        while let Some(Field(container)) = items.next_element::<Field<Container>>()? {
            let Container { name: Field(name), state: Field(state), last_state } = container;
            let exit = state.terminated.exit_code.0.0.filter(|code| *code != 0);
            if let (None, Some(code)) = (&kept.ended_badly, exit) {
                kept.ended_badly = Some((name.clone(), code));
            }
            let Waiting { reason: Field(reason), message: Field(message) } = state.waiting.0;
            if kept.stuck.is_none() && STUCK.contains(&reason.as_str()) {
                kept.stuck =
                    Some(Stuck { name, reason, message, last_exit: last_state.terminated.exit_code.0.0 });
            }
        }
        Ok(kept)
    }
}
